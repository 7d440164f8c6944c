"""A disk that fails now and then, under a cache folder: calls of httpd's that fail or do a part of their work."""

import os

from preload import Preload

SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static __thread uint64_t dice;

static unsigned roll(unsigned sides)
{
    struct timespec now;

    if (!dice) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        dice = (uint64_t)now.tv_nsec * 2654435761u + (uint64_t)gettid() + 1;
    }
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (unsigned)((dice >> 20) % sides);
}

/* Does it fail now? One call in so many as the file says does; it is asked again by each call. */
static int is_failing(void)
{
    char text[16] = "";
    int fd = REAL(open)(getenv("DISK_FAILS"), O_RDONLY | O_CLOEXEC);
    unsigned one_in;

    if (fd < 0)
        return 0;
    one_in = REAL(pread)(fd, text, sizeof(text) - 1, 0) > 0 ? (unsigned)atoi(text) : 0;
    close(fd);
    return one_in && roll(one_in) == 0;
}

/* Is it a file of the folder, or the folder? */
static int is_in_folder(int fd)
{
    char link[64], path[4096];
    const char *folder = getenv("DISK_FOLDER");
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path));
    return length >= (ssize_t)strlen(folder) && strncmp(path, folder, strlen(folder)) == 0;
}

static int fails(int fd)
{
    int was = errno, does = is_in_folder(fd) && is_failing();

    errno = was;
    return does;
}

static int one_of(int error, int other)
{
    return roll(2) ? error : other;
}

/* int mode, the argument behind flags, if there is one */
#define TAKE_MODE(flags) \
    va_list more; \
    int mode; \
    va_start(more, flags); \
    mode = flags & O_CREAT ? va_arg(more, int) : 0; \
    va_end(more)

#define FAIL(error) do { errno = (error); return -1; } while (0)

/* How much is written or read instead: nothing, with an error, a part, or all. */
static ssize_t part(size_t length)
{
    return roll(2) ? (ssize_t)roll((unsigned)length + 1) : -1;
}

int openat64(int at, const char *path, int flags, ...)
{
    TAKE_MODE(flags);

    if (at != AT_FDCWD && fails(at))
        FAIL(one_of(EMFILE, flags & O_CREAT ? ENOSPC : ENFILE));
    return REAL(openat64)(at, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    TAKE_MODE(flags);

    return openat64(at, path, flags, mode);
}

static int fails_to_open(const char *path)
{
    const char *folder = getenv("DISK_FOLDER");

    return folder && strncmp(path, folder, strlen(folder)) == 0 && is_failing();
}

int open64(const char *path, int flags, ...)
{
    TAKE_MODE(flags);

    if (fails_to_open(path))
        FAIL(one_of(EMFILE, ENFILE));
    return REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    TAKE_MODE(flags);

    return open64(path, flags, mode);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    ssize_t less;

    if (!fails(fd))
        return REAL(pwrite64)(fd, bytes, length, at);
    if ((less = part(length)) < 0)
        FAIL(one_of(ENOSPC, one_of(EIO, EINTR)));
    return REAL(pwrite64)(fd, bytes, (size_t)less, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
    return pwrite64(fd, bytes, length, at);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at)
{
    ssize_t less;

    if (!fails(fd))
        return REAL(pread64)(fd, bytes, length, at);
    if ((less = part(length)) < 0)
        FAIL(one_of(EINTR, EIO));
    return REAL(pread64)(fd, bytes, (size_t)less, at);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t at)
{
    return pread64(fd, bytes, length, at);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    ssize_t less;

    if (!fails(fd))
        return REAL(write)(fd, bytes, length);
    if ((less = part(length)) < 0)
        FAIL(one_of(ENOSPC, EINTR));
    return REAL(write)(fd, bytes, (size_t)less);
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t length)
{
    if (!fails(in))
        return REAL(sendfile64)(out, in, at, length);
    return REAL(sendfile64)(out, in, at, 1 + roll((unsigned)(length < 65536 ? length : 65536)));
}

ssize_t sendfile(int out, int in, off_t *at, size_t length)
{
    return sendfile64(out, in, at, length);
}

int flock(int fd, int operation)
{
    if (operation != LOCK_UN && fails(fd))
        FAIL(one_of(ENOLCK, operation & LOCK_NB ? EWOULDBLOCK : EINTR));
    return REAL(flock)(fd, operation);
}

int ftruncate64(int fd, off64_t length)
{
    if (fails(fd))
        FAIL(one_of(EIO, EINTR));
    return REAL(ftruncate64)(fd, length);
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length)
{
    if (fails(fd))
        FAIL(one_of(ENOSPC, EINTR));
    return REAL(fallocate64)(fd, mode, at, length);
}

int fallocate(int fd, int mode, off_t at, off_t length)
{
    return fallocate64(fd, mode, at, length);
}

int fsync(int fd)
{
    if (fails(fd))
        FAIL(EIO);
    return REAL(fsync)(fd);
}

int renameat(int from, const char *name, int to, const char *target)
{
    if (fails(to))
        FAIL(one_of(EIO, ENOSPC));
    return REAL(renameat)(from, name, to, target);
}

int fcntl(int fd, int command, ...)
{
    va_list more;
    void *what;

    va_start(more, command);
    what = va_arg(more, void *);
    va_end(more);
    if (command == F_DUPFD_CLOEXEC && fails(fd))
        FAIL(EMFILE);
    return REAL(fcntl)(fd, command, what);
}

DIR *fdopendir(int fd)
{
    if (fails(fd)) {
        errno = ENOMEM;
        return NULL;
    }
    return REAL(fdopendir)(fd);
}
"""


class FlakyDisk(Preload):
    """The disk of a folder."""

    SOURCE = SOURCE
    VARIABLE = "DISK_FAILS"

    def __init__(self, folder, disk):
        super().__init__(folder)
        self.disk = disk

    @property
    def environment(self):
        return dict(super().environment, DISK_FOLDER=self.disk)

    def fail(self, one_in):
        """One call in so many fails, or does a part of what it should."""
        self.tell(str(one_in))

    def mend(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
