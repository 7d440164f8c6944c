"""What a monitor or a load balancer asks, GET /walt-vpn/server, tells whether the WalT server can be reached: as documented."""

import os
import re
import shutil
import socket
import subprocess
import time

import pytest

import processes
import wire
from httpd import PROJECT
from processes import wait_until

SERVER = "/walt-vpn/server"


def documented(word):
    """The indented block of docs/monitoring.md in which this word stands."""
    with open(os.path.join(PROJECT, "docs", "monitoring.md")) as file:
        block, = [part for part in re.findall(r"(?m)(?:^    .*\n)+", file.read()) if word in part]
    return re.sub(r"(?m)^    ", "", block)


@pytest.fixture
def ours(entrypoint):
    made = entrypoint(vhost="WaltVpnExpose boot", server_name="walt-entry.example.org")
    made.server_name = "walt-entry.example.org"
    made.tolerate_log("proxy:error|proxy_http:error")
    return made


def curl(*arguments):
    """(exit status, output) of curl."""
    done = subprocess.run(["curl", "-s", "-f", "--noproxy", "*", "--max-time", "30", *arguments], stdout=subprocess.PIPE)
    return done.returncode, done.stdout.decode()


def test_up_and_down(ours, walt):
    """200 and the WalT server's name; 503 at once; 200 again at once: nothing keeps an answer."""
    up = ours.get(SERVER)
    assert up.status == 200 and up.body
    walt.down()
    assert ours.get(SERVER, timeout=3).status == 503
    walt.up()
    again = ours.get(SERVER)
    assert again.status == 200 and again.body == up.body


@pytest.mark.thorough
def test_a_walt_server_that_says_nothing(ours, walt):
    """502, after 20 s."""
    walt.freeze()
    assert ours.get(SERVER, timeout=40).status == 502
    walt.thaw()


def test_by_address(ours, walt):
    """Only with the name that nodes use: the entrypoint is that name, not the machine."""
    assert ours.get(SERVER, host="127.0.0.1").status == 404
    url = "http://127.0.0.1:%d%s" % (ours.port, SERVER)
    assert curl(url)[0] == 22
    status, body = curl("-H", "Host: walt-entry.example.org", url)
    assert status == 0 and body.strip()
    assert curl("--connect-to", "::127.0.0.1:%d" % ours.port, "http://walt-entry.example.org" + SERVER) == (0, body)
    walt.down()
    assert curl("-H", "Host: walt-entry.example.org", url)[0] == 22


@pytest.fixture
def haproxy(folder, ours):
    """(port, states): HAProxy with the backend that is documented, and what it thinks of the two servers in it."""
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed")
    backend = documented("backend entrypoints").replace("inter 5s", "inter 200ms fall 1 rise 1")
    backend = backend.replace("198.51.100.7:80", "127.0.0.1:%d" % ours.port)
    backend = backend.replace("198.51.100.8:80", "127.0.0.1:%d" % processes.free_port())
    place, control = os.path.join(folder, "haproxy.cfg"), os.path.join(folder, "control")
    port = processes.free_port()
    with open(place, "w") as file:
        file.write("global\n    stats socket %s\ndefaults\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n"
                   "frontend nodes\n    mode tcp\n    bind 127.0.0.1:%d\n    default_backend entrypoints\n%s" % (control, port, backend))
    process = processes.spawn(["haproxy", "-db", "-f", place], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)

    def states():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(control)
            connection.sendall(b"show stat\n")
            lines = b"".join(iter(lambda: connection.recv(65536), b"")).decode().splitlines()
        columns = lines[0].lstrip("# ").split(",")
        rows = [dict(zip(columns, line.split(","))) for line in lines[1:] if line]
        return {row["svname"]: row["status"] for row in rows if row["pxname"] == "entrypoints"}

    try:
        wait_until(lambda: os.path.exists(control), what="haproxy")
        yield port, states
    finally:
        processes.end(process)


def test_a_load_balancer(haproxy, ours, walt):
    """HAProxy, configured as documented, takes an entrypoint out while the WalT server is down, and back in; nodes' requests pass."""
    port, states = haproxy
    wait_until(lambda: states()["one"] == "UP" and states()["two"] == "DOWN", what="the first checks")
    assert wire.exchange(port, wire.request(SERVER, ours.server_name)).status == 200
    walt.down()
    wait_until(lambda: states()["one"] == "DOWN", what="its way out")
    walt.up()
    wait_until(lambda: states()["one"] == "UP", what="its way back")


def test_a_walt_server_that_is_cut_off(httpd):
    """503, after 4 s: as with a firewall that drops what it is sent, no packet answers a port whose queue is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued = [socket.socket() for _ in range(4)]
        for one in queued:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        ours = httpd("WaltVpnServer 127.0.0.1:%d" % full.getsockname()[1])
        ours.tolerate_log("proxy:error|proxy_http:error")
        before = time.monotonic()
        assert ours.get(SERVER, timeout=30).status == 503
        assert 3.5 < time.monotonic() - before < 15
        for one in queued:
            one.close()
