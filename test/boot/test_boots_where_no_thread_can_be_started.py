"""A limit on threads costs no node its boot, and no process its end: what a thread of its own would do, the request's does."""

import errno
import os

import pytest

from fetches import ONE_PROCESS, fetched
from fleet import Fleet
from processes import wait_until
from stand_in import VERSIONS

THREADS = 16


@pytest.mark.walt_versions(*VERSIONS)
def test_fleet(entrypoint, cache, calls, walt):
    httpd = entrypoint(cache=cache.path, server=ONE_PROCESS.replace("8", str(THREADS)))
    child, = httpd.children()
    wait_until(lambda: len(os.listdir("/proc/%d/task" % child)) > THREADS, what="the threads of the MPM")
    walt.rate(4 << 20)
    calls.fail("pthread_create", errno.EAGAIN)
    assert all(boot.booted for boot in Fleet(httpd, 6).boots())
    calls.mend()
    walt.set_image(image="mended")
    assert all(boot.booted for boot in Fleet(httpd, 6).boots())
    assert fetched(walt) == 2 and len(cache.images()) == 2
