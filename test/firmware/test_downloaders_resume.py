"""Downloaders that everybody has: each brings boot.img whole, and after a lost link goes on where it was."""

import asyncio
import hashlib
import os
import random
import subprocess

import aiohttp
import pytest

from initramfs import BUSYBOX
from link import Link

NODE = "192-168-152-7"
SIZE = 8 << 20
HEADERS = 2048      # more than any reply's


def command(*words):
    """A client that is a program: each run tries once, and goes on from what is there."""

    def download(url, path):
        words_of_call = [word.replace("@URL@", url).replace("@FILE@", path) for word in words]
        done = subprocess.run(words_of_call, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode == 0

    return download


def with_aiohttp(url, path):
    async def download():
        held = os.path.getsize(path) if os.path.exists(path) else 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            async with session.get(url, headers={"Range": "bytes=%d-" % held} if held else {}) as reply:
                if reply.status != (206 if held else 200):
                    return False
                with open(path, "ab") as file:
                    async for data in reply.content.iter_any():
                        file.write(data)
        return True

    try:
        return asyncio.run(download())
    except (aiohttp.ClientError, OSError):
        return False


CLIENTS = {
    "curl": command("curl", "--silent", "--show-error", "--fail", "--continue-at", "-", "--output", "@FILE@", "@URL@"),
    "wget": command("wget", "--no-verbose", "--tries=1", "--continue", "--output-document=@FILE@", "@URL@"),
    "busybox wget": command(BUSYBOX, "wget", "-q", "-c", "-O", "@FILE@", "@URL@"),
    "aiohttp": with_aiohttp,
}


@pytest.fixture(params=CLIENTS)
def client(request):
    return CLIENTS[request.param]


pytestmark = pytest.mark.needs("curl", "wget", "busybox")


@pytest.fixture
def image(walt):
    content = random.Random("downloads").randbytes(SIZE)
    walt.put("boot.img", content)
    return content


@pytest.fixture
def entry(entrypoint, folder):
    return entrypoint(cache=os.path.join(folder, "cache"), server_name="127.0.0.1")


def url(port):
    return "http://127.0.0.1:%d/walt-vpn/per-ip/%s/boot.img" % (port, NODE)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def test_brings_it_whole(image, entry, folder, client):
    path = os.path.join(folder, "download")
    assert client(url(entry.port), path)
    assert digest(path) == hashlib.sha256(image).hexdigest()


def test_resumes_after_a_lost_link(image, entry, folder, client):
    path = os.path.join(folder, "download")
    with Link(entry.port) as link:
        link.cut("boot.img", at_byte=SIZE // 3)
        client(url(link.port), path)        # busybox of Debian 11 does not always notice that the link was lost
        held = os.path.getsize(path)
        assert 0 < held < SIZE
        assert client(url(link.port), path)
    assert digest(path) == hashlib.sha256(image).hexdigest()
    assert len(link.carried) == 2
    assert link.carried[1].replied < SIZE - held + HEADERS, "it started over"


def test_asks_again_for_what_it_has(image, entry, folder, client):
    """Most ask for a range behind the end then: whatever the answer is, it is not appended."""
    path = os.path.join(folder, "download")
    assert client(url(entry.port), path)
    client(url(entry.port), path)
    assert digest(path) == hashlib.sha256(image).hexdigest()
