"""Calls of httpd's that fail, or take their time, as the disks and schedulers of others make them."""

import os

from preload import Preload

# One call of libc may be two here, "flock of a folder" and "flock of a file", or a special case: "openat of a .part to read",
# "pwrite behind half a MiB", "pwrite of more than a page", which writes one page and then fails, and "read of 512 bytes" from a
# socket, which is how one lingers on a connection.
SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number that the file tells of this call; 0: it does not. */
static int told(const char *call)
{
    char text[64] = "";
    int fd = open(getenv("CALLS_ARE_TOLD"), O_RDONLY), number = 0;
    size_t length = strlen(call);

    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof(text) - 1) > 0 && strncmp(text, call, length) == 0 && text[length] == ':')
        number = atoi(text + length + 1);
    close(fd);
    return number;
}

int flock(int fd, int operation)
{
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    struct stat st;
    int error = 0;

    if (operation != LOCK_UN && fstat(fd, &st) == 0)
        error = told(S_ISDIR(st.st_mode) ? "flock of a folder" : "flock of a file");
    if (!error)
        return real(fd, operation);
    errno = error;
    return -1;
}

DIR *opendir(const char *path)
{
    DIR *(*real)(const char *) = (DIR *(*)(const char *))dlsym(RTLD_NEXT, "opendir");
    int error = told("opendir");

    if (!error)
        return real(path);
    errno = error;
    return NULL;
}

static int hindered(const char *path, int flags)
{
    if (!strstr(path, ".part") || (flags & O_ACCMODE) != O_RDONLY)
        return 0;
    return (errno = told("openat of a .part to read")) != 0;
}

int openat(int at, const char *path, int flags, ...)
{
    int (*real)(int, const char *, int, int) = (int (*)(int, const char *, int, int))dlsym(RTLD_NEXT, "openat");

    return hindered(path, flags) ? -1 : real(at, path, flags, flags & O_CREAT ? 0600 : 0);
}

int openat64(int at, const char *path, int flags, ...)
{
    int (*real)(int, const char *, int, int) = (int (*)(int, const char *, int, int))dlsym(RTLD_NEXT, "openat64");

    return hindered(path, flags) ? -1 : real(at, path, flags, flags & O_CREAT ? 0600 : 0);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length)
{
    int (*real)(int, int, off64_t, off64_t) = (int (*)(int, int, off64_t, off64_t))dlsym(RTLD_NEXT, "fallocate64");
    int error = told("fallocate");

    if (!error)
        return real(fd, mode, at, length);
    errno = error;
    return -1;
}

int fallocate(int fd, int mode, off_t at, off_t length)
{
    return fallocate64(fd, mode, at, length);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at)
{
    ssize_t (*real)(int, void *, size_t, off64_t)
        = (ssize_t (*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
    int microseconds = length == 128 << 10 ? told("pread of 128 KiB") : 0;

    if (microseconds)
        usleep((unsigned)microseconds);
    return real(fd, bytes, length, at);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t at)
{
    return pread64(fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t)
        = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    int error = at < 1 << 19 ? 0 : told("pwrite behind half a MiB");
    static int is_cut;

    if (!error && length > 4096 && (error = told("pwrite of more than a page")) && (is_cut = !is_cut))
        return real(fd, bytes, 4096, at);
    if (!error)
        return real(fd, bytes, length, at);
    errno = error;
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
    return pwrite64(fd, bytes, length, at);
}

/* Not told() first: that reads, too. */
ssize_t read(int fd, void *bytes, size_t length)
{
    ssize_t (*real)(int, void *, size_t) = (ssize_t (*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    int type;
    socklen_t size = sizeof(type);

    if (length != 512 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || !told("read of 512 bytes"))
        return real(fd, bytes, length);
    memset(bytes, 0, length);
    return (ssize_t)length;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    int (*real)(pthread_mutex_t *) = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    int error = told("pthread_mutex_trylock");

    return error ? error : real(mutex);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *data)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)
        = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    int error = told("pthread_create");

    return error ? error : real(thread, attributes, run, data);
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int (*real)(int, const struct sockaddr *, socklen_t)
        = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    int microseconds = told("connect");

    if (microseconds)
        usleep((unsigned)microseconds);
    return real(fd, address, length);
}

pid_t getpid(void)
{
    static pid_t (*real)(void);
    int microseconds = told("getpid");

    if (!real)
        real = (pid_t (*)(void))dlsym(RTLD_NEXT, "getpid");
    if (microseconds)
        usleep((unsigned)microseconds);
    return real();
}
"""


class Calls(Preload):
    """One call at a time is special: those named in the source, which fail, but for four. "getpid" takes a moment: an entrypoint
    asks it when it has chosen a place in shared memory, and before it takes it. So do "connect" and "pread of 128 KiB", of which a digest is
    computed. "read of 512 bytes" finds more
    each time."""

    SOURCE = SOURCE
    VARIABLE = "CALLS_ARE_TOLD"

    def fail(self, call, error):
        self.tell("%s:%d" % (call, error))

    def delay(self, call, seconds):
        self.tell("%s:%d" % (call, seconds * 1000000))

    def flood(self, call):
        self.tell("%s:1" % call)

    def mend(self):
        os.unlink(self.path)
