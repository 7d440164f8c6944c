"""Thousands of mutilated requests to a build with sanitizers: no report, no death, and nothing at the WalT server but one
clean request at a time for a path below /walt-vpn/."""

import concurrent.futures
import hashlib
import os
import posixpath
import random
import re
import shutil
import socket
import subprocess
import urllib.parse

import pytest

import wire
from httpd import PROJECT
from proxies import WaltVpn
from raw_requests import RAWS
from recorder import Recorder, fault_of
from request_targets import ACCEPTED, NODE, REFUSED

REQUESTS = 18000
HOST = WaltVpn.server_name
IMAGE = random.Random("image").randbytes(200000)
SIGNATURE = b"%s\nts: 1\nrsa2048: 00\n" % hashlib.sha256(IMAGE).hexdigest().encode()
FLAGS = "-g1 -O0 -fsanitize=address,undefined -fno-sanitize-recover=undefined"

SEEDS = [raw.bytes.encode("latin-1") for raw in RAWS] + [
    wire.request("/walt-vpn/" + row.target, HOST) for row in REFUSED + ACCEPTED] + [
    wire.request("/walt-vpn/" + NODE + file, HOST, headers=headers, close=close)
    for file in ("boot.sig", "boot.img")
    for close in (True, False)
    for headers in ([], [("Range", "bytes=1000-")], [("Range", "bytes=199999-")], [("Range", "bytes=0-9,20-29")],
                    [("If-Range", '"x"'), ("Range", "bytes=5-")], [("If-None-Match", "*")], [("Accept-Encoding", "gzip")])]

WORDS = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"/", b"//", b"..", b"/../", b"%2e", b"%2f", b"%5c", b"\\", b";", b"?",
         b"#", b"%", b"%00", b"%25", b"\xff", b"\xc3\xa9", b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"POST ", b"HEAD ", b"/walt-vpn/",
         b"per-ip/", b"overlays", b"boot.img", b"boot.sig", b"enroll", b"fake_requester_ip=", b"Content-Length: 5\r\n",
         b"Transfer-Encoding: chunked\r\n", b"Range: bytes=1-\r\n", b"Range: bytes=99999999999999999999-\r\n", b"Range: bytes=-5\r\n",
         b"Connection: keep-alive\r\n", b"Host: %s\r\n" % HOST.encode(), b"Host: x\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n",
         b"9" * 30, b"-1", b"A" * 300, b"A" * 9000]


def mutilated(number):
    """The request of that number: always the same."""
    chance = random.Random("request %d" % number)
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 3, 5, 10])):
        place, way = chance.randrange(len(data) + 1), chance.randrange(7)
        if way == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif way == 1:
            data[place:place] = chance.choice(WORDS)
        elif way == 2:
            del data[place:place + chance.randrange(1, 8)]
        elif way == 3:
            data[place:place + len(chance.choice(WORDS))] = chance.choice(WORDS)
        elif way == 4:
            end = place + chance.randrange(1, 40)
            data[place:place] = data[place:end]
        elif way == 5:
            other = chance.choice(SEEDS)
            data[place:] = other[chance.randrange(len(other)):]
        elif place < len(data):
            data[place] = chance.randrange(256)
    return bytes(data)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """(the module with sanitizers, what httpd must load before it), built apart from the one that all other tests use."""
    if not shutil.which("gcc") or not shutil.which("make"):
        pytest.skip("no gcc or no make")
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()
    if not os.path.isabs(library):
        pytest.skip("gcc has no libasan")
    folder = str(tmp_path_factory.mktemp("sanitized"))
    for path in (PROJECT + "/Makefile", PROJECT + "/mod_walt_vpn.c"):
        shutil.copy(path, folder)
    shutil.copytree(PROJECT + "/src", os.path.join(folder, "src"), ignore=shutil.ignore_patterns("*.o"))
    build = subprocess.run(["make", "-C", folder, "-j2", "CC=gcc", "CFLAGS=" + FLAGS, "LDFLAGS=-fsanitize=address,undefined", "all"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                           env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")})
    if "cannot find -lubsan" in build.stdout or "cannot find -lasan" in build.stdout:
        pytest.skip("gcc has no sanitizers")
    assert build.returncode == 0, build.stdout
    os.chmod(folder, 0o755)
    return os.path.join(folder, "mod_walt_vpn.so"), os.path.realpath(library)


@pytest.fixture
def reports(sanitized, monkeypatch, folder):
    """Where the sanitizers write; httpd's children may."""
    place = os.path.join(folder, "reports")
    os.mkdir(place)
    os.chmod(place, 0o777)
    module = shutil.copy(sanitized[0], folder)      # pytest's own folders are closed to httpd's children
    os.chmod(module, 0o755)
    monkeypatch.setenv("MOD_WALT_VPN", module)
    monkeypatch.setenv("HTTPD_PRELOAD", sanitized[1])
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=1:log_path=%s/asan" % place)
    monkeypatch.setenv("UBSAN_OPTIONS", "print_stacktrace=1:abort_on_error=1:log_path=%s/ubsan" % place)
    return place


def said(reports):
    text = ""
    for name in os.listdir(reports):
        with open(os.path.join(reports, name), errors="replace") as report:
            text += report.read()
    return text


def send(port, raw):
    """Sends it and half-closes, so that nobody waits for more; whatever is the answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
    except socket.timeout:
        return "no answer and no end: %r" % raw
    except OSError:
        pass        # a reset is an answer
    return None


def harm_of(data):
    """What is wrong with what came to the server, by a reading of its own; None: nothing."""
    fault = fault_of(data)
    if fault:
        return fault
    path = data.split(b" ")[1].decode("latin-1").partition("?")[0]
    query = data.split(b" ")[1].decode("latin-1").partition("?")[2]
    for _ in range(4):
        place = posixpath.normpath(path.replace("\\", "/").replace(";", "/;"))
        if not (place + "/").startswith("/walt-vpn/"):
            return "it leaves /walt-vpn/"
        if place.startswith("/walt-vpn/per-ip") and (path.endswith("/") or place.count("/") < 4) and place[16:17] in ("", "/"):
            return "it is a directory below per-ip/"
        if re.fullmatch("/walt-vpn/per-ip/[^/]+/overlays(/;.*)?", place):
            return "it is the directory in a node's folder"
        path, query = urllib.parse.unquote(path, errors="ignore"), urllib.parse.unquote(query)
        if "fake_requester_ip" in query:
            return "it names a requester"
    return None


def answer(target):
    return SIGNATURE if target.endswith("boot.sig") else IMAGE if target.endswith("boot.img") else b"ok\n"


def assert_sanitized(ours, module):
    """What is tested is the build with sanitizers, and their reports would be seen."""
    with open("/proc/%d/maps" % ours.children()[0]) as maps:
        text = maps.read()
    assert "libasan" in text and os.environ["MOD_WALT_VPN"] in text
    with open(module, "rb") as file:
        assert b"__asan_report_load" in file.read()


@pytest.mark.thorough
def test_requests(httpds, folder, reports, sanitized):
    """Half of them to a cache with httpd's default strictness, half to a relay without it."""
    for options, cache in (("Strict", folder + "/images"), ("Unsafe", "")):
        with Recorder(answer) as server:
            ours = httpds(WaltVpn, server, server="HttpProtocolOptions %s\nTimeout 5\nKeepAliveTimeout 1" % options,
                          cache=cache).start()
            ours.tolerate_log("")       # crashes alone matter, and these are never tolerated
            assert_sanitized(ours, sanitized[0])
            numbers = range(REQUESTS // 2) if cache else range(REQUESTS // 2, REQUESTS)
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                stuck = [trouble for trouble in pool.map(lambda number: send(ours.port, mutilated(number)), numbers) if trouble]
            assert not stuck, stuck
            assert ours.get("/walt-vpn/server").body == b"ok\n"
            taken = server.take()
            ours.stop()
        assert not said(reports), said(reports)[:5000]
        harm = [(fault, data[:300]) for data in taken for fault in [harm_of(data)] if fault]
        assert not harm, harm
        assert len(taken) > 800, "hardly any came through: this shows little"
