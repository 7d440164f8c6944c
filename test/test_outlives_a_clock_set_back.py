"""A clock that was an hour ahead and is set right: what the entrypoint remembers from the hour that never was is forgotten."""

import os
import subprocess

import pytest

MIB = 1 << 20

# What apr_time_now() asks; an hour earlier as soon as a file is there.
CLOCK = r"""
#include <sys/time.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec time;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec - (access(getenv("CLOCK_IS_SET_BACK"), F_OK) == 0 ? 3600 : 0);
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}
"""


@pytest.fixture
def set_back(folder, monkeypatch):
    """httpd's clock; the function that sets it back."""
    place = os.path.join(folder, "clock")
    os.mkdir(place)
    os.chmod(place, 0o755)
    with open(os.path.join(place, "clock.c"), "w") as source:
        source.write(CLOCK)
    library, moment = os.path.join(place, "clock.so"), os.path.join(place, "moment")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source.name], check=True)
    monkeypatch.setenv("CLOCK_IS_SET_BACK", moment)
    monkeypatch.setenv("HTTPD_PRELOAD", " ".join(filter(None, [os.environ.get("HTTPD_PRELOAD"), library])))
    return lambda: open(moment, "w").close()


def test_a_resume_goes_on(set_back, entrypoint, walt, cache, node):
    """The node has another image by now. That it had the old one in the future is no reason to start over."""
    ours = entrypoint(cache=cache.path)
    ours.tolerate_log("ended short")
    assert node(ours).boot().booted
    walt.set_image("*", "another", 1)
    set_back()
    boot = node(ours, lost_links={"boot.img": [MIB // 2]}).boot()
    assert boot.booted, boot
    assert [status for _, _, status in boot.replies] == [200, 200, 206]
