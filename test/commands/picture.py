#!/usr/bin/python3
"""Takes a picture of the status page during a storm of emulated nodes: make picture [WIDTH=1000]."""

import argparse
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))

import browser
import status_page
from fleet import Fleet
from httpd import Httpd
from proxies import WaltVpn
from stand_in import WaltServer

MIB = 1 << 20


def storm(walt, entrypoint):
    """Nodes that have booted, nodes that are slow, one that gave up, one of no image, and a fetch under way."""
    Fleet(entrypoint, ["192.168.152.%d" % ip for ip in range(2, 8)]).boots()
    Fleet(entrypoint, ["192.168.152.8"], lost_links={"boot.img": [5 * MIB]}).boots()
    with entrypoint.connect() as leaves:
        leaves.send(b"GET /walt-vpn/per-ip/192-168-152-9/boot.img HTTP/1.1\r\nHost: %s\r\n\r\n"
                    % entrypoint.server_name.encode())
        while len(leaves.buffer) < 3 * MIB:
            leaves.receive()
    for number, rate in enumerate((900, 700, 500, 300)):
        Fleet(entrypoint, ["192.168.152.%d" % (10 + number)], rate=rate * 1024)
        time.sleep(0.5)
    walt.fault("192-168-152-30/boot.sig", "status", status=404, times=None)
    for _ in range(3):
        Fleet(entrypoint, ["192.168.152.30"]).boots()
    walt.rate(2 * MIB)
    Fleet(entrypoint, ["192.168.152.20"])
    time.sleep(4)


def section(picture):
    """Only our part: what stands below the last line of two pixels across the page."""
    white = b"\xff\xff\xff"

    def is_line(row):
        row = row[60:-60]
        return row[:3] != white and row == row[:3] * (len(row) // 3)

    lines = [y for y in range(1, len(picture.rows)) if is_line(picture.rows[y - 1]) and is_line(picture.rows[y])]
    end = max(y for y, row in enumerate(picture.rows) if row != white * picture.width)
    picture.crop(lines[-1] + 1, end + 12)


def main():
    options = argparse.ArgumentParser(description="Takes a picture of the status page.")
    options.add_argument("--width", type=int, default=1000)
    options.add_argument("file")
    options = options.parse_args()
    if not browser.chromium():
        sys.exit("chromium is not installed: apt-get install --no-install-recommends chromium")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        Httpd.server_name = "walt-entry.example.org"
        with WaltServer(image_mib=16) as walt:
            walt.set_image(mib=16)
            walt.set_image("192.168.152.20", "another", mib=32)
            os.mkdir(os.path.join(folder, "entrypoint"))
            with WaltVpn(os.path.join(folder, "entrypoint"), walt, vhost=status_page.LOCATION + "\nWaltVpnExpose boot",
                         server="SendBufferSize 131072", cache=os.path.join(folder, "entrypoint", "images"),
                         modules=status_page.MODULES) as entrypoint:
                storm(walt, entrypoint)
                picture = browser.picture("http://127.0.0.1:%d/server-status" % entrypoint.port, options.width)
                walt.clear()
    section(picture)
    with open(options.file, "wb") as file:
        file.write(picture.png())
    print("%s: %d bytes" % (options.file, os.path.getsize(options.file)))


if __name__ == "__main__":
    main()
