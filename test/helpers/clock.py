"""httpd's clock, for tests of what lasts longer than a test may."""

import os
import subprocess

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


class Clock:
    """Of each httpd that is started with its environment."""

    def __init__(self, folder):
        place = os.path.join(folder, "clock")
        os.mkdir(place)
        os.chmod(place, 0o755)
        self.library = os.path.join(place, "clock.so")
        self.path = os.path.join(place, "shift")
        with open(os.path.join(place, "clock.c"), "w") as source:
            source.write(SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, source.name], check=True)

    @property
    def environment(self):
        return {"CLOCK_IS_SHIFTED": self.path,
                "HTTPD_PRELOAD": " ".join(filter(None, [os.environ.get("HTTPD_PRELOAD"), self.library]))}

    def shift(self, seconds):
        """From now on it is that much later than it is; earlier, if that is negative."""
        with open(self.path + ".new", "w") as file:
            file.write("%d" % seconds)
        os.rename(self.path + ".new", self.path)
