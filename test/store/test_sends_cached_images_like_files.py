"""What is sent from the cache obeys HTTP as a file does: ranges, conditions, HEAD; and asking for boot.sig leaves no trace."""

import re

import pytest

import wire
from boot_files import boot_sig, image_digest, image_pieces
from fetches import fetched
from stand_in import VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
SIZE = 1 << 20
CONTENT = image_pieces("default", 1)[0]
ETAG = '"%s"' % image_digest("default", 1)


@pytest.fixture(params=["cold", "warm"])
def cached(request, entrypoint, cache, walt, node):
    """An entrypoint, before and after the image is in its cache."""
    httpd = entrypoint(cache=cache.path)
    if request.param == "warm":
        assert node(httpd).boot().booted
    return httpd


@pytest.mark.parametrize("headers, status, first, last, reason", [
    ([], 200, 0, SIZE, "the whole"),
    ([("Range", "bytes=1000-")], 206, 1000, SIZE, "what a node asks when it resumes"),
    ([("Range", "bytes=1048575-")], 206, SIZE - 1, SIZE, "the last byte"),
    ([("Range", "bytes=10-19")], 206, 10, 20, "a piece"),
    ([("Range", "bytes=-5")], 206, SIZE - 5, SIZE, "the end"),
    ([("Range", "bytes=0-")], 206, 0, SIZE, "a range of everything"),
    ([("Range", "bytes=10-2000000")], 206, 10, SIZE, "beyond the end"),
    ([("Range", "lines=1-2")], 200, 0, SIZE, "a unit that nobody knows"),
    ([("Range", "bytes=1000-"), ("If-Range", ETAG)], 206, 1000, SIZE, "the image is still that one"),
    ([("Range", "bytes=1000-"), ("If-Range", '"%064d"' % 0)], 200, 0, SIZE, "the image is another one"),
    ([("Range", "bytes=1000-"), ("If-Range", "Sun, 22 Nov 2026 10:00:00 GMT")], 200, 0, SIZE, "an image has no date"),
    ([("If-Match", ETAG)], 200, 0, SIZE, "the image is that one"),
    ([("If-None-Match", '"%064d"' % 0)], 200, 0, SIZE, "the image is another one"),
    ([("If-Modified-Since", "Sun, 22 Nov 2026 10:00:00 GMT")], 200, 0, SIZE, "an image has no date"),
])
def test_bytes(headers, status, first, last, reason, cached):
    """Exactly the bytes asked for, with Content-Length and the digest as ETag; HEAD says the same without them."""
    got = cached.get(IMG, headers=headers)
    assert got.status == status
    assert got.body == CONTENT[first:last]
    assert got.header("Content-Length") == str(last - first)
    assert got.header("ETag") == ETAG
    assert got.header("Accept-Ranges") == "bytes"
    if status == 206:
        assert got.header("Content-Range") == "bytes %d-%d/%d" % (first, last - 1, SIZE)
    head = cached.get(IMG, method="HEAD", headers=headers)
    assert head.status == status and head.body == b""
    assert head.header("Content-Length") == got.header("Content-Length")
    assert head.header("ETag") == ETAG


@pytest.mark.parametrize("headers, status, reason", [
    ([("Range", "bytes=1048576-")], 404, "past the end: a node that holds all of it and more, and would append the body of a 416"),
    ([("If-Match", '"%064d"' % 0)], 412, "the image is another one"),
    ([("If-None-Match", ETAG)], 304, "the client has it"),
])
def test_refused(headers, status, reason, cached):
    """Short, and with a length where one belongs."""
    got = cached.get(IMG, headers=headers)
    assert got.status == status
    assert len(got.body) < 400
    if status != 304:
        assert got.header("Content-Length") == str(len(got.body))
    assert cached.get(IMG).body == CONTENT


def test_several_ranges(cached):
    """One reply with a part for each, and a length."""
    got = cached.get(IMG, headers=[("Range", "bytes=0-9,1000-1009,-10")])
    assert got.status == 206
    assert got.header("Content-Length") == str(len(got.body))
    boundary = re.fullmatch("multipart/byteranges; boundary=(.+)", got.header("Content-Type")).group(1)
    parts = got.body.split(b"--" + boundary.encode())
    assert [part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") for part in parts[1:-1]] \
        == [CONTENT[:10], CONTENT[1000:1010], CONTENT[-10:]]


def test_connection_is_kept(entrypoint, cache, walt):
    """A client that is no node may ask again on the same connection, after a whole image and after a piece."""
    httpd = entrypoint(cache=cache.path, vhost="KeepAlive On")
    assert httpd.get(IMG).body == CONTENT
    with httpd.connect() as connection:
        for headers, body in (([], CONTENT), ([("Range", "bytes=5-9")], CONTENT[5:10]), ([], CONTENT)):
            connection.send(wire.request(IMG, httpd.server_name, headers=headers, close=False))
            assert connection.reply().body == body


@pytest.mark.parametrize("digits", [str.lower, str.upper])
def test_digest_in_either_case(digits, entrypoint, cache, walt):
    """The file is named in lower case, whatever the WalT server writes."""
    signature = digits(boot_sig(image_digest("default", 1))[:64].decode()) + "\nts: 1\nrsa2048: 00\n"
    reply = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(signature), signature)
    walt.fault("boot.sig", "raw", reply=reply, times=2)
    httpd = entrypoint(cache=cache.path)
    assert httpd.get(IMG).body == CONTENT
    assert httpd.get(IMG).body == CONTENT
    assert fetched(walt) == 1
    assert cache.images() == [image_digest("default", 1)]


CLIENT = [("X-Forwarded-For", "10.0.0.1"), ("Accept", "*/*"), ("Range", "bytes=5-"), ("If-Range", '"x"'),
          ("If-None-Match", '"x"'), ("User-Agent", "rpiboot/1.0"), ("Cookie", "a=b")]
WITHOUT_OURS = ("range", "if-range", "if-none-match")


def test_what_the_walt_server_sees(entrypoint, cache, walt):
    """Our own questions are plain GETs of the node's files, without what the client asked of its own reply."""
    httpd = entrypoint(cache=cache.path)
    assert httpd.get(IMG + "?x=%20y", headers=CLIENT).status == 200
    assert [request.target for request in walt.requests()] == [IMG.replace("img", "sig"), IMG]
    for request in walt.requests():
        assert request.method == "GET" and request.body == b""
        assert not [name for name, _ in request.headers if name.lower() in WITHOUT_OURS]


def test_relaying_after_a_question_is_relaying(entrypoint, cache, walt):
    """What the cache leaves to mod_proxy arrives at the WalT server as it does without a cache."""
    seen = []
    for options in ({}, {"cache": cache.path}):
        httpd = entrypoint(**options)
        if options:
            walt.fault("boot.sig", "no-digest")
        assert httpd.get(IMG, headers=CLIENT).status == 200
        seen.append([(name, value) for name, value in walt.requests("boot.img")[-1].headers])
    without, after = seen
    assert after == without
    assert walt.requests("boot.img")[0].target == walt.requests("boot.img")[1].target


@pytest.mark.parametrize("line", ["EnableSendfile Off", "EnableSendfile Off\nEnableMMAP Off", "EnableSendfile On"])
def test_sending_settings(line, entrypoint, cache, walt, node):
    """The administrator's word on sendfile and mmap is kept, and the bytes are the same."""
    httpd = entrypoint(cache=cache.path, vhost=line)
    for _ in range(2):
        assert node(httpd, lost_links={"boot.img": [1000, 700000]}).boot().booted
    assert fetched(walt) == 1
