"""A clock that was an hour ahead and is set right: what the entrypoint remembers from the hour that never was is forgotten."""

import os
import re
import subprocess

import pytest

import wire
from processes import wait_until

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


def boots_another_image(ours, walt, node):
    """A node whose link is lost once, and who had another image before."""
    walt.set_image("*", "another", 1)
    boot = node(ours, lost_links={"boot.img": [MIB // 2]}).boot()
    assert boot.booted and [status for _, _, status in boot.replies] == [200, 200, 206], boot


def test_after_a_boot(set_back, entrypoint, walt, cache, node):
    """That the node had its old image in the future is no reason to start over."""
    ours = entrypoint(cache=cache.path)
    ours.tolerate_log("ended short")
    assert node(ours).boot().booted
    wait_until(lambda: "has image" in ours.error_log, what="the line about the boot")
    set_back()
    boots_another_image(ours, walt, node)


def test_during_a_boot(set_back, entrypoint, walt, cache, node):
    """Neither is that it began to get it then; and that took no time less than none."""
    walt.set_image("*", "large", 16)
    ours = entrypoint(cache=cache.path)
    ours.tolerate_log("ended short")
    with ours.connect() as connection:
        connection.send(wire.request("/walt-vpn/per-ip/192-168-152-7/boot.img", ours.server_name))
        assert connection.receive()
        set_back()
        assert len(connection.rest().body) == 16 * MIB
    wait_until(lambda: "has image" in ours.error_log, what="the line about the boot")
    assert re.search(r"16777216 bytes in \d+\.\d{3} s, ", ours.error_log)
    boots_another_image(ours, walt, node)
