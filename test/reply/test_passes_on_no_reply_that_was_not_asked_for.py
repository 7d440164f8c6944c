"""What firmware would take for its file, or append to it, although it is neither, becomes an error that it understands."""

import pytest

IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
HEAD = "HTTP/1.1 %s\r\nContent-Length: 5\r\nConnection: close\r\n%s\r\nhello"

REPLIES = [
    ("204 No Content", "", "no file"),
    ("205 Reset Content", "", "no file"),
    ("304 Not Modified", "", "nobody said that it has one"),
    ("206 Partial Content", "Content-Range: bytes 5-9/10\r\n", "a piece"),
    ("416 Range Not Satisfiable", "", "no piece was asked for"),
]


@pytest.mark.parametrize("status, line, reason", REPLIES, ids=[row[0][:3] for row in REPLIES])
@pytest.mark.parametrize("path", [IMG, IMG.replace("img", "sig")], ids=["boot.img", "boot.sig"])
def test_to_a_whole_request(path, status, line, reason, entrypoint, walt):
    httpd = entrypoint()
    httpd.tolerate_log("was answered with 50|proxy")
    walt.fault(path.rpartition("/")[2], "raw", reply=HEAD % (status, line), times=None)
    reply = httpd.get(path)
    assert reply.status == 502
    assert reply.header("Content-Length") == str(len(reply.body)) and b"hello" not in reply.body


@pytest.mark.parametrize("status, line, reason", REPLIES[:3] + [
    ("206 Partial Content", "Content-Range: bytes 5-9/10\r\n", "another piece")], ids=["204", "205", "304", "206"])
def test_to_a_resume(status, line, reason, entrypoint, walt):
    """Which would append any body but that of a 404."""
    httpd = entrypoint()
    httpd.tolerate_log("was answered with 404|proxy")
    walt.fault("boot.img", "raw", reply=HEAD % (status, line), times=None)
    reply = httpd.get(IMG, headers=[("Range", "bytes=3-")])
    assert reply.status == 404 and reply.header("Content-Length") == str(len(reply.body))


@pytest.mark.parametrize("line", ["X-A : b\r\n", ": b\r\n", "X-A: \x01\r\n"], ids=["space", "no name", "control byte"])
@pytest.mark.parametrize("headers, status, body", [([], 200, b"hello"), ([("Range", "bytes=3-")], 206, b"lo")], ids=["whole", "resume"])
def test_a_header_line_that_httpd_refuses(line, headers, status, body, entrypoint, walt):
    """It is left out; httpd alone would make an error of it, which firmware takes for the file."""
    httpd = entrypoint()
    httpd.tolerate_log("is left out of replies to nodes|proxy|AH0")
    walt.fault("boot.img", "raw", reply=HEAD % ("200 OK", line), times=None)
    reply = httpd.get(IMG, headers=headers)
    assert (reply.status, reply.body) == (status, body)
