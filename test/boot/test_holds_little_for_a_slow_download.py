"""Slow downloads are the usual ones: each holds its connection and its image's file open, and nothing more."""

import os
import socket

import pytest

import wire
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

NODES = 10
IMG = "/walt-vpn/per-ip/192-168-152-%d/boot.img"


def descriptors(httpd):
    """Open in all children together."""
    return sum(len(os.listdir("/proc/%d/fd" % child)) for child in httpd.children())


def begin_download(httpd, number):
    """A connection on which boot.img has begun to come and is not read further."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", httpd.port))
    connection.sendall(wire.request(IMG % number, httpd.server_name))
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    return connection


def test_descriptors(entrypoint, cache, node, walt):
    """Two each, however large the image is."""
    httpd = entrypoint(cache=cache.path)
    walt.set_image(mib=16)
    assert node(httpd).boot().booted
    before = descriptors(httpd)
    downloads = [begin_download(httpd, number) for number in range(1, NODES + 1)]
    held = descriptors(httpd) - before
    for download in downloads:
        download.close()
    assert NODES <= held <= 2 * NODES + 5     # httpd opens some for itself when it starts another child
