"""Calls of httpd's that fail, or take their time, as the disks and schedulers of others make them."""

import os

from preload import Preload

# One call of libc may be two here: "flock of a folder" and "flock of a file".
SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

DIR *fdopendir(int fd)
{
    DIR *(*real)(int) = (DIR *(*)(int))dlsym(RTLD_NEXT, "fdopendir");
    int error = told("fdopendir");

    if (!error)
        return real(fd);
    errno = error;
    return NULL;
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
    """One call at a time is special: "flock of a folder", "flock of a file", "fdopendir"; and "getpid", which takes a moment:
    an entrypoint asks it when it has chosen a place in shared memory, and before it takes it."""

    SOURCE = SOURCE
    VARIABLE = "CALLS_ARE_TOLD"

    def fail(self, call, error):
        self.tell("%s:%d" % (call, error))

    def delay(self, call, seconds):
        self.tell("%s:%d" % (call, seconds * 1000000))

    def mend(self):
        os.unlink(self.path)
