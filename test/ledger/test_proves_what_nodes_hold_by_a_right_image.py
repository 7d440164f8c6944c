"""src/ledger/fetches.c, alone: which bytes of which try of a fetch are those of an image whose digest was right."""

import ctypes
import glob
import os
import subprocess

import pytest

from httpd import PROJECT, apxs

NO_ENTRYPOINT = -1
COMMON = 1000


class Ledger:
    """The functions of ledger/fetches.h that tell of fetches, on a ledger of its own."""

    def __init__(self, library):
        self.library = ctypes.CDLL(library)
        self.library.fetches_heir.restype = ctypes.c_uint64
        self.library.fetches_heir.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_int64]
        self.library.fetches_is_proven.argtypes = [ctypes.c_uint64, ctypes.c_int64]
        self.library.fetches_begin.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64]
        self.library.fetches_differ.argtypes = [ctypes.c_int, ctypes.c_int64]
        pool = ctypes.c_void_p()
        self.library.apr_initialize()
        self.library.apr_pool_create_ex(ctypes.byref(pool), None, None, None)
        assert self.library.ledger_open(pool) == 0

    def begin(self):
        """A fetch; its place."""
        return self.library.fetches_begin(NO_ENTRYPOINT, b"", 1, 1)

    def differs(self, place):
        self.library.fetches_differ(place, COMMON)

    def proven(self, place):
        self.library.fetches_prove(place)

    def end(self, place):
        self.library.fetches_end(place)

    def heir(self, place, run, position):
        return self.library.fetches_heir(place, run, position)

    def is_proven(self, run, position):
        return bool(self.library.fetches_is_proven(run, position))


@pytest.fixture
def ledger(tmp_path):
    """A new one: its runs are numbered from 1."""
    if not apxs("INCLUDEDIR"):
        pytest.skip("no headers of httpd")
    path = str(tmp_path / "ledger.so")
    flags = [subprocess.run([apxs(config)] + options, stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout.split()
             for config, options in (("APR_CONFIG", ["--includes", "--cppflags", "--link-ld"]), ("APU_CONFIG", ["--includes"]))]
    httpds = tmp_path / "httpds.c"
    httpds.write_text("void *walt_vpn_request_of(const void *r) { return (void)r, (void *)0; }\n"     # what needs httpd; not asked
                      "int ap_mpm_query(int q, int *r) { return (void)q, *r = 0; }\n"
                      "void *ap_get_scoreboard_worker_from_indexes(int i, int k) { return (void)i, (void)k, (void *)0; }\n")
    subprocess.run(os.environ.get("CC", "cc").split() + ["-std=c11", "-O1", "-shared", "-fPIC", "-o", path, str(httpds)]
                   + glob.glob(os.path.join(PROJECT, "src", "ledger", "*.c"))
                   + ["-I" + os.path.join(PROJECT, "src"), "-I" + apxs("INCLUDEDIR")] + sum(flags, []), check=True)
    return Ledger(path)


def test_no_run_has_no_proven_byte(ledger):
    """0 is written while a run changes, and when a fetch ends."""
    assert not ledger.is_proven(0, 0) and not ledger.is_proven(0, COMMON)


def test_a_right_image(ledger):
    place = ledger.begin()
    assert not ledger.is_proven(1, 0)
    ledger.proven(place)
    ledger.end(place)
    assert ledger.is_proven(1, 0) and ledger.is_proven(1, 1 << 40)
    assert not ledger.is_proven(257, 0)


def test_a_second_try_that_differs(ledger):
    """Of the first one that is proven which both have; it is gone on with as far as that, and until the fetch ends."""
    place = ledger.begin()
    ledger.differs(place)
    assert [ledger.heir(place, 1, position) for position in (0, COMMON, COMMON + 1)] == [2, 2, 1]
    ledger.proven(place)
    ledger.end(place)
    assert ledger.is_proven(2, 1 << 40)
    assert [ledger.is_proven(1, position) for position in (0, COMMON, COMMON + 1)] == [True, True, False]
    assert ledger.heir(place, 1, 0) == 1


def test_a_second_try_that_is_given_up(ledger):
    """Nothing is proven, and nobody goes on with anything."""
    place = ledger.begin()
    ledger.differs(place)
    ledger.end(place)
    assert not ledger.is_proven(1, 0) and not ledger.is_proven(2, 0)
    assert ledger.heir(place, 1, 0) == 1
