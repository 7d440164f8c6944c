"""src/request/judge.c, alone: each request target of the table gets the verdict that its row gives the reason for."""

import ctypes
import os
import shutil
import subprocess

import pytest

from httpd import PROJECT
from request_targets import ACCEPTED, DISGUISES, NO_DISGUISES, NODE, OTHER, REFUSED


class Judgement(ctypes.Structure):
    """boot_request of request/judge.h."""

    _fields_ = [("file", ctypes.c_int), ("node", ctypes.c_char * 16), ("plain", ctypes.c_int), ("reason", ctypes.c_int)]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler")
    path = str(tmp_path_factory.mktemp("boot_request") / "boot_request.so")
    subprocess.run(compiler.split() + ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path,
                                       "-I" + os.path.join(PROJECT, "src"), os.path.join(PROJECT, "src", "request", "judge.c")], check=True)
    library = ctypes.CDLL(path)
    library.boot_request_rest.restype = ctypes.c_char_p
    library.boot_request_rest.argtypes = [ctypes.c_char_p]
    library.boot_request_judge.argtypes = [ctypes.POINTER(Judgement), ctypes.c_char_p, ctypes.c_char_p]
    library.boot_request_judge.restype = None
    library.boot_request_is_disguised.argtypes = [ctypes.c_char_p]
    return library


@pytest.fixture
def judge(library):
    texts = ctypes.cast(library.boot_reason_texts, ctypes.POINTER(ctypes.c_char_p))

    def judge(target):
        rest, mark, query = target.encode("latin-1").partition(b"?")
        judgement = Judgement()
        library.boot_request_judge(ctypes.byref(judgement), rest, query if mark else None)
        judgement.fault = texts[judgement.reason] if judgement.reason else None
        return judgement
    return judge


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.target)
def test_refused(judge, row):
    fault = judge(row.target).fault
    assert fault is not None, row.reason
    assert row.fault in fault.decode(), row.reason


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.target)
def test_accepted(judge, row):
    judgement = judge(row.target)
    assert judgement.fault is None, row.reason
    assert (judgement.file, judgement.node.decode(), bool(judgement.plain)) == (row.file, row.node, row.plain), row.reason


@pytest.mark.parametrize("byte", range(1, 256))
def test_each_byte_in_a_name(judge, byte):
    """As sent and encoded: a byte is a part of a name, or there is a fault to tell."""
    # as sent, '/' and '?' end the name; encoded, '/' is refused and '?' is not
    assert (judge(NODE + "x%cx" % byte).fault is None) == (0x20 < byte < 0x7f and chr(byte) not in "\\%")
    assert (judge("x?y%cx" % byte).fault is None) == (0x20 < byte < 0x7f)
    assert (judge(NODE + "x%%%02xx" % byte).fault is None) == (0x20 <= byte < 0x7f and chr(byte) not in "\\/")


@pytest.mark.parametrize("length, fault", [(8190, None), (8191, b"too long"), (100000, b"too long")])
def test_length(judge, length, fault):
    """The longest that is judged, one byte more, and far more; path and query alike."""
    for target in ("x" * length, "x?" + "y" * length):
        found = judge(target).fault
        assert found is None if fault is None else fault in found
        assert judge(target).file == OTHER


@pytest.mark.parametrize("path, rest, reason", [
    ("/walt-vpn/server", "server", "below it"),
    ("/walt-vpn/", "", "the folder itself"),
    ("/walt%2dvpn/server", "server", "an encoded letter is that letter"),
    ("/%77%61lt-vpn/server", "server", "so are several"),
    ("/walt-vpn//server", "/server", "the second slash is a part of the rest, and judged there"),
    ("/walt-vpn", None, "no slash behind it"),
    ("/walt-vpnx/server", None, "a longer name"),
    ("/walt-vpn%2fserver", None, "an encoded slash is no slash"),
    ("%2fwalt-vpn/server", None, "an encoded slash is no slash"),
    ("//walt-vpn/server", None, "another path"),
    ("/Walt-VPN/server", None, "case matters"),
    ("/x/walt-vpn/server", None, "further down"),
    ("walt-vpn/server", None, "no path"),
    ("/%2577alt-vpn/x", None, "decoded once only"),
    ("*", None, "OPTIONS *"),
    ("", None, "nothing"),
])
def test_prefix(library, path, rest, reason):
    found = library.boot_request_rest(path.encode())
    assert found == (None if rest is None else rest.encode()), reason


def is_disguised(library, path):
    return bool(library.boot_request_is_disguised(ctypes.create_string_buffer(path.encode("latin-1"))))


@pytest.mark.parametrize("start", DISGUISES)
def test_disguise(library, start):
    """Whatever stands behind it, and however long it is."""
    assert library.boot_request_rest(start.encode()) is None
    for rest in ("", "server", NODE, "x" * 100000):
        assert is_disguised(library, start + rest), DISGUISES[start]


@pytest.mark.parametrize("path", NO_DISGUISES)
def test_no_disguise(library, path):
    assert not is_disguised(library, path), NO_DISGUISES[path]
