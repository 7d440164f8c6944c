"""What the entrypoint asks on its own account carries nothing of the client that caused it but the client's address."""

from fleet import Fleet
from httpd import ENTRYPOINT
from questions import ask

OURS = {"host", "connection", "x-forwarded-for", "x-forwarded-host", "x-forwarded-server", "range", "if-range", "via", "max-forwards"}


def test_no_line_of_the_client_s(entrypoint, cache, walt):
    httpd = entrypoint(cache=cache.path)
    headers = [("Cookie", "a=b"), ("Accept-Encoding", "gzip"), ("X-Forwarded-For", "6.6.6.6"), ("If-None-Match", '"x"')]
    assert ask(httpd, ["192.168.152.7"], headers=headers)[0].wait().reply.status == 200
    assert httpd.get("/walt-vpn/per-ip/192-168-152-7/boot.img", headers=headers[:3]).status == 200
    for request in walt.requests():
        assert {name.lower() for name, _ in request.headers} <= OURS, request.headers
        assert request.header("X-Forwarded-For") == "127.0.0.1"


def test_a_stranger_breaks_no_fetch(entrypoint, cache, walt):
    """With 97 header lines, which the WalT server does not read, it begins the fetch that all nodes wait for."""
    httpd = entrypoint(cache=cache.path)
    walt.rate(1 << 20)
    lines = [("X-%d" % number, "y") for number in range(97)]
    with httpd.connect() as stranger:
        stranger.send(b"GET /walt-vpn/per-ip/192-168-152-9/boot.img HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (
            httpd.server_name.encode(), b"".join(b"%s: %s\r\n" % (name.encode(), value.encode()) for name, value in lines)))
        boots = Fleet(httpd, 4).boots()
        assert stranger.reply().status == 200
    assert all(boot.booted and not boot.resumes for boot in boots), boots
    assert len(walt.requests("boot.img")) == 1


def test_the_site_s_lines_hold(entrypoint, walt):
    """RequestHeader in the virtual host, in <Location> and in <Proxy>."""
    httpd = entrypoint(modules=ENTRYPOINT + ("headers",), vhost='RequestHeader set X-Site a\n<Location "/walt-vpn/">\n'
                       'RequestHeader set X-Place b\n</Location>\n<Proxy "http://%s/walt-vpn/">\nRequestHeader set X-Way c\n</Proxy>'
                       % walt.location)
    assert ask(httpd, ["192.168.152.7"])[0].wait().reply.status == 200
    request, = walt.requests("boot.sig")
    assert [request.header(name) for name in ("X-Site", "X-Place", "X-Way")] == ["a", "b", "c"]
