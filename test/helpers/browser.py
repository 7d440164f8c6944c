"""Headless Chromium: what a browser makes of a page."""

import os
import shutil
import struct
import subprocess
import tempfile
import zlib

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars")


def chromium():
    """Its path, or None."""
    return shutil.which("chromium")


def run(url, *flags):
    """What it prints, once the page is loaded. Its profile is a new one each time."""
    with tempfile.TemporaryDirectory(prefix="walt-vpn-chromium-") as profile:
        done = subprocess.run([chromium(), *FLAGS, "--user-data-dir=" + profile, *flags, url], timeout=120,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert done.returncode == 0, "chromium ended with status %d" % done.returncode
    return done.stdout


def dom(url, width=1280, height=1000):
    """The page as the browser understood it, written out again."""
    return run(url, "--window-size=%d,%d" % (width, height), "--dump-dom").decode("utf-8")


class Picture:
    """Rows of RGB bytes."""

    def __init__(self, png):
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        at, data = 8, b""
        while at < len(png):
            length, kind = struct.unpack(">I4s", png[at:at + 8])
            body = png[at + 8:at + 8 + length]
            if kind == b"IHDR":
                self.width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
                assert depth == 8 and colour in (2, 6) and not interlaced
            elif kind == b"IDAT":
                data += body
            at += length + 12
        size = {2: 3, 6: 4}[colour]
        data = zlib.decompress(data)
        stride = self.width * size
        before = bytearray(stride)
        self.rows = []
        for y in range(height):
            start = y * (stride + 1)
            row = bytearray(data[start + 1:start + 1 + stride])
            self.unfilter(data[start], row, before, size)
            before = row
            if size == 4:
                flat = bytearray(self.width * 3)
                for channel in range(3):
                    flat[channel::3] = row[channel::4]
                row = flat
            self.rows.append(bytes(row))

    @staticmethod
    def unfilter(kind, row, before, size):
        """PNG's five filters (RFC 2083, 6)."""
        for i in range(len(row)) if kind else ():
            left = row[i - size] if i >= size else 0
            up = before[i]
            corner = before[i - size] if i >= size else 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) // 2
            else:
                guess = min((left, up, corner), key=lambda near: abs(left + up - corner - near))
            row[i] = (row[i] + guess) & 255

    def crop(self, top, bottom):
        self.rows = self.rows[top:bottom]

    def png(self):
        """As small as it gets: a palette of at most 256 colours, each a little rounded."""
        coarse = bytes(min(255, (value + 8) // 17 * 17) for value in range(256))
        palette, lines = {}, []
        for row in self.rows:
            row = row.translate(coarse)
            colours = [row[i:i + 3] for i in range(0, len(row), 3)]
            lines.append(b"\0" + bytes(palette.setdefault(colour, len(palette)) for colour in colours))

        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", self.width, len(self.rows), 8, 3, 0, 0, 0))
                + chunk(b"PLTE", b"".join(palette)) + chunk(b"IDAT", zlib.compress(b"".join(lines), 9)) + chunk(b"IEND", b""))


def picture(url, width=1000, height=3000):
    """A Picture of the page as it is before anybody scrolls."""
    with tempfile.TemporaryDirectory(prefix="walt-vpn-chromium-") as folder:
        path = os.path.join(folder, "page.png")
        run(url, "--window-size=%d,%d" % (width, height), "--screenshot=" + path)
        with open(path, "rb") as file:
            return Picture(file.read())
