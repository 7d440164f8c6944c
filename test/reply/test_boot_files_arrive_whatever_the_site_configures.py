"""boot.sig and boot.img reach firmware in the one form that it can read, whatever else the site does to its replies."""

import collections
import os
import re

import pytest

import wire
from boot_client import LONGEST_LINE
from boot_files import boot_sig, image_digest, image_pieces
from httpd import ENTRYPOINT, module_folder

PLACE = "/walt-vpn/per-ip/192-168-152-7/"
LONG = "x" * 300
BIG = "@DIR@/htdocs/big.html"

Site = collections.namedtuple("Site", "vhost modules server reason")


def site(vhost, modules=(), server="", reason=""):
    return Site(vhost, modules, server, reason)


SITES = {
    "nothing special": site("", reason="the yardstick"),
    "deflate everything": site("SetOutputFilter DEFLATE", ["filter", "deflate"], reason="firmware knows no codings"),
    "deflate by type": site("AddOutputFilterByType DEFLATE text/html application/octet-stream text/plain",
                            ["filter", "deflate"], reason="as Debian's deflate.conf does it"),
    "deflate in a Location": site("<Location />\nSetOutputFilter DEFLATE\n</Location>", ["filter", "deflate"],
                                  reason="a section comes into force later than the virtual host"),
    "brotli": site("SetOutputFilter BROTLI_COMPRESS", ["filter", "brotli"], reason="the other coding"),
    "substitute": site('SetOutputFilter SUBSTITUTE\nSubstitute "s/a/bbb/"', ["filter", "substitute"],
                       reason="a changed file fails at its signature"),
    "substitute by type": site('AddOutputFilterByType SUBSTITUTE text/html\nSubstitute "s/a/bbb/"', ["filter", "substitute"],
                               reason="the WalT server calls boot.img text/html"),
    "sed": site('<Location />\nSetOutputFilter Sed\nOutputSed "s/a/bbb/g"\n</Location>', ["filter", "sed"], reason="one more that changes bytes"),
    "links rewritten": site("ProxyHTMLEnable On\nProxyHTMLLinks a href", ["xml2enc", "proxy", "proxy_html"],
                            reason="what a site does that passes on an application, too"),
    "buckets": site("SetOutputFilter BUCKETEER", ["bucketeer"], reason="one that comes before most, and drops bytes"),
    "includes": site("Options +Includes\nSetOutputFilter INCLUDES", ["filter", "include"], reason="one that parses the body"),
    "buffer": site("SetOutputFilter BUFFER", ["filter", "buffer"], reason="one that holds it back"),
    "rate limit": site("SetOutputFilter RATE_LIMIT\nSetEnv rate-limit 4000", ["filter", "ratelimit", "env"],
                       reason="one that an administrator may want; it stays"),
    "AddEncoding": site("AddEncoding x-gzip .img .sig", ["mime"], "TypesConfig /dev/null", "a coding that is only said"),
    "AddType": site("AddType text/html .img\nAddDefaultCharset utf-8", ["mime"], "TypesConfig /dev/null", "types do not matter"),
    "short header": site('Header always set X-Frame-Options DENY\nHeader set X-Other "y"', ["headers"],
                         reason="headers that firmware can read stay"),
    "long header always": site('Header always set Content-Security-Policy "%s"' % LONG, ["headers"],
                               reason="a line of 200 bytes wedges old firmware's parser"),
    "long header": site('Header set X-Long "%s"' % LONG, ["headers"], reason="the other table of headers"),
    "long header added twice": site('Header add X-Long "%s"\nHeader add X-Long "short"' % LONG, ["headers"],
                                    reason="one of two lines of that name"),
    "long header in a Location": site('<Location />\nHeader set X-Long "%s"\n</Location>' % LONG, ["headers"],
                                      reason="a section"),
    "length changed": site("Header set Content-Length 5", ["headers"], reason="a short count cuts the file off"),
    "length always changed": site("Header always set Content-Length 5", ["headers"], reason="a second line of that name"),
    "length taken away": site("Header unset Content-Length", ["headers"], reason="without it the firmware drops the data"),
    "length merged": site('Header merge Content-Length "5"', ["headers"], reason="a list is no number"),
    "coding set": site("Header set Content-Encoding gzip\nHeader always set Transfer-Encoding chunked", ["headers"],
                       reason="codings that are only said"),
    "error pages": site("\n".join("ErrorDocument %d /big.html" % status for status in (400, 403, 404, 412, 413, 416, 500, 502, 503)),
                        reason="a page is not what a node can use"),
    "error pages elsewhere": site("\n".join("ErrorDocument %d https://www.example.org/sorry" % status
                                            for status in (404, 412, 413, 416, 502, 503)), reason="a redirect in disguise"),
    "errors overridden": site("ProxyErrorOverride On\nErrorDocument 404 /big.html", reason="mod_proxy's own error pages"),
    "redirect to https": site("Redirect permanent / https://www.example.org/", ["alias"], reason="nodes follow no redirect"),
    "redirect in a Location": site("<Location />\nRedirect permanent https://www.example.org/\n</Location>", ["alias"],
                                   reason="a section"),
    "redirect in an If": site("<If \"true\">\nRedirect permanent / https://www.example.org/\n</If>", ["alias"],
                              reason="a section that comes into force last"),
    "rewrite to https": site("RewriteEngine on\nRewriteRule ^ https://www.example.org%{REQUEST_URI} [R=301,L]", ["rewrite"],
                             reason="the usual way to say it"),
    "rewrite in a Location": site("<Location />\nRewriteEngine on\nRewriteRule ^ https://www.example.org/ [R=301,L]\n"
                                  "</Location>", ["rewrite"], reason="a section"),
    "forbidden by rewrite": site("RewriteEngine on\nRewriteRule \\.(img|sig)$ - [F]", ["rewrite"], reason="another verdict"),
    "another handler": site("<Location />\nSetHandler default-handler\n</Location>", reason="the site serves files"),
    "HTTP/2": site("Protocols h2c http/1.1", ["http2"], reason="offers an upgrade in each reply"),
    "HTTP/2 first": site("H2Direct on\nProtocols h2c http/1.1", ["http2"], reason="listens for its preface"),
    "keep-alive off": site("KeepAlive Off", reason="the server closes"),
    "keep-alive on": site("KeepAlive On\nKeepAliveTimeout 1\nMaxKeepAliveRequests 100", reason="the server does not"),
    "ranges forbidden": site("MaxRanges none", reason="an answer of 200 to a resume corrupts the image"),
    "range taken away": site("RequestHeader unset Range", ["headers"], reason="an old advice against CVE-2011-3192"),
    "range taken away early": site("RequestHeader unset Range early", ["headers"], reason="the same, sooner"),
    "HTTP/1.0 forced": site("SetEnv force-response-1.0 1\nSetEnv downgrade-1.0 1\nSetEnv nokeepalive 1", ["env"],
                            reason="for clients of another age"),
    "no sendfile, no mmap": site("EnableSendfile Off\nEnableMMAP Off", reason="other ways out of the folder"),
    "expiry": site('ExpiresActive On\nExpiresDefault "access plus 1 month"', ["expires"], reason="headers that grow"),
    "cookies": site("CookieTracking on\nCookieName track", ["usertrack"], reason="a cookie in each reply"),
    "all tokens": site("ServerSignature EMail\nServerAdmin %s@example.org" % ("a" * 230), server="ServerTokens Full",
                       reason="a signature below error pages"),
    "a cache": site("CacheEnable disk /", ["cache", "cache_disk"], server="CacheRoot @DIR@/cache\nCacheIgnoreNoLastMod On\n"
                    "CacheIgnoreCacheControl On\nCacheStoreNoStore On\nCacheDefaultExpire 3600",
                    reason="a cache that keeps all it can"),
    "a cache as a handler": site("CacheEnable disk /\nCacheQuickHandler off", ["cache", "cache_disk"],
                                 server="CacheRoot @DIR@/cache\nCacheIgnoreNoLastMod On\nCacheIgnoreCacheControl On\n"
                                 "CacheStoreNoStore On\nCacheDefaultExpire 3600", reason="the same, later in a request"),
}
# A long header line that had to go is told, once.
TOLD = {
    "long header always": "header Content-Security-Policy: line of 200 bytes or more",
    "long header": "header X-Long: line of 200 bytes or more",
    "long header added twice": "header X-Long: line of 200 bytes or more",
    "long header in a Location": "header X-Long: line of 200 bytes or more",
}


def assert_readable(reply, status, body=None):
    """Exactly one usable Content-Length, which is right, no coding, no long line, and the end of it all."""
    assert reply.status == status
    assert max(map(len, reply.raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= LONGEST_LINE
    lengths = [line for line in reply.header_lines if line.lower().startswith("content-length")]
    assert lengths == ["Content-Length: %d" % len(reply.body)]
    for name in ("Transfer-Encoding", "Content-Encoding", "Location"):
        assert reply.values(name) == []
    assert len(reply.values("Content-Type")) <= 1 and len(reply.values("Date")) == 1
    if body is not None:
        assert reply.body == body
    else:
        assert len(reply.body) < 200


@pytest.fixture(params=SITES)
def name(request):
    return request.param


@pytest.fixture(params=["relayed", pytest.param("cached", marks=pytest.mark.thorough)])
def ours(request, name, entrypoint, folder):
    configured = SITES[name]
    for module in configured.modules:
        if not os.path.exists("%s/mod_%s.so" % (module_folder(), module)):
            pytest.skip("no mod_%s" % module)
    made = entrypoint(vhost=configured.vhost, server=configured.server,
                      modules=list(dict.fromkeys([*configured.modules, *ENTRYPOINT])),
                      cache=folder + "/images" if request.param == "cached" else "", start=False)
    with open(os.path.join(made.folder, "htdocs", "big.html"), "w") as page:
        page.write("<p>sorry</p>\n" * 10000)
    os.mkdir(os.path.join(made.folder, "cache"))
    os.chmod(os.path.join(made.folder, "cache"), 0o777)
    made.start()
    if name in TOLD:
        made.tolerate_log(TOLD[name])
    return made


def test_whole_boot(ours, walt, node, name):
    """A node, the setup check, and downloads by other clients: all forms of request, all replies as they must be."""
    image = b"".join(image_pieces("default", 1))
    signature = boot_sig(image_digest("default", 1))
    for headers in ([], [("Accept-Encoding", "gzip, br")]):
        assert ours.get("/walt-vpn/server", headers=headers).body == b"walt.example.org\n"
        assert_readable(ours.get(PLACE + "boot.sig", headers=headers), 200, signature)
        assert_readable(ours.get(PLACE + "boot.img", headers=headers), 200, image)
    assert_readable(ours.get(PLACE + "boot.img", version="HTTP/1.0"), 200, image)
    assert_readable(ours.get(PLACE + "boot.sig", version="HTTP/1.0", close=False), 200, signature)
    resumed = ours.get(PLACE + "boot.img", headers=[("Range", "bytes=1000-")])
    assert_readable(resumed, 206, image[1000:])
    assert resumed.header("Content-Range") == "bytes 1000-%d/%d" % (len(image) - 1, len(image))
    with ours.connect() as connection:
        connection.send(wire.request(PLACE + "boot.sig", ours.server_name, close=False))
        assert_readable(connection.reply(), 200, signature)
    boot = node(ours, lost_links={"boot.img": [70000], "boot.sig": [100]}).boot()
    assert boot.booted, boot
    if name in TOLD:
        assert len(re.findall(TOLD[name], ours.error_log)) == 1


@pytest.mark.thorough
def test_errors(ours, walt):
    """404, 412, 502 and 503 are short and have their length, too: a node takes their body for the file, but never waits."""
    ours.tolerate_log("proxy:error|proxy_http:error|was answered with")
    assert_readable(ours.get(PLACE + "../x"), 404)
    assert_readable(ours.get(PLACE + "boot.img", headers=[("Range", "bytes=1048576-")]), 404)
    precondition = ours.get(PLACE + "boot.img", headers=[("If-Match", '"x"')])      # which is httpd's, of a file in the cache
    assert_readable(precondition, precondition.status, None if precondition.status == 412 else precondition.body)
    walt.fault("boot.sig", "fin", at_byte=100, times=None)
    walt.fault("boot.img", "fin", times=None)
    assert_readable(ours.get(PLACE + "boot.sig"), 502)
    assert_readable(ours.get(PLACE + "boot.img"), 502)
    walt.down()
    assert_readable(ours.get(PLACE + "boot.sig"), 503)
    assert_readable(ours.get(PLACE + "boot.img"), 503)
