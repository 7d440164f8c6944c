"""httpd's clock, for tests of what lasts longer than a test may."""

from preload import Preload

# What apr_time_now() asks; as many seconds later as a file says.
SOURCE = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    char text[32] = "";
    int fd = open(getenv("CLOCK_IS_SHIFTED"), O_RDONLY);
    struct timespec time;

    (void)zone;
    if (fd >= 0) {
        if (read(fd, text, sizeof(text) - 1) < 0)
            text[0] = 0;
        close(fd);
    }
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec + atol(text);
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}
"""


class Clock(Preload):
    SOURCE = SOURCE
    VARIABLE = "CLOCK_IS_SHIFTED"

    def shift(self, seconds):
        """From now on it is that much later than it is; earlier, if that is negative."""
        self.tell("%d" % seconds)
