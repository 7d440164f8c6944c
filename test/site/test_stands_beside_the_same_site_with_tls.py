"""The entrypoint's site on port 443 with a certificate serves browsers and curl; nodes go on with plain HTTP on port 80."""

import os
import ssl
import socket
import subprocess

import pytest

import processes
from boot_files import image_pieces
from httpd import ENTRYPOINT, Httpd

NAME = Httpd.server_name
IMAGE = "/walt-vpn/per-ip/192-168-152-7/boot.img"

# docs/setting-up.md shows the same with a lab's names and Debian's ports.
SITES = """\
<VirtualHost *:@PORT@>
    ServerName %(name)s
    WaltVpnServer %(walt)s
    WaltVpnExpose boot
    %(plain)s
</VirtualHost>
<VirtualHost *:%(tls)d>
    ServerName %(name)s
    WaltVpnServer %(walt)s
    WaltVpnExpose boot
    SSLEngine on
    SSLCertificateFile %(folder)s/certificate.pem
    SSLCertificateKeyFile %(folder)s/key.pem
    Protocols %(protocols)s
</VirtualHost>
"""


@pytest.fixture
def certificate(folder):
    """certificate.pem and key.pem in `folder`, for NAME."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=" + NAME,
                    "-addext", "subjectAltName=DNS:" + NAME, "-keyout", folder + "/key.pem", "-out", folder + "/certificate.pem"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=True)
    return os.path.join(folder, "certificate.pem")


@pytest.fixture
def site(httpd, walt, cache, folder, certificate):
    """site(plain="", protocols="http/1.1"): running, with .tls, its second port; plain: lines of the site on port 80."""
    def make(plain="", protocols="http/1.1"):
        tls = processes.free_port()
        vhost = SITES % {"name": NAME, "walt": walt.location, "plain": plain, "tls": tls, "folder": folder, "protocols": protocols}
        made = httpd(vhost, server="Listen 127.0.0.1:%d\nWaltVpnCacheRoot %s" % (tls, cache.path),
                     modules=("ssl", "http2", "rewrite") + ENTRYPOINT)
        made.tls = tls
        made.tolerate_log(r"\[ssl:warn\]")       # of a certificate that vouches for itself, and of no session cache
        return made
    return make


def curl(site, certificate, path, *options):
    """What curl says to a file by https, checking certificate and name: (exit status, the body)."""
    done = subprocess.run(["curl", "-sS", "--max-time", "20", "--cacert", certificate, *options,
                           "--resolve", "%s:%d:127.0.0.1" % (NAME, site.tls), "https://%s:%d%s" % (NAME, site.tls, path)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout


@pytest.mark.parametrize("protocols, options", [("http/1.1", ()), ("h2 http/1.1", ("--http2",))], ids=["HTTP 1.1", "HTTP 2"])
def test_both_serve_the_same_from_one_folder(site, walt, cache, certificate, node, protocols, options):
    """The image that a node booted is the one that curl gets, whole or from where it was; it crossed the link once."""
    digest = walt.set_image()
    made = site(protocols=protocols)
    boot = node(made).boot()
    assert boot.booted and boot.image_sha256 == digest
    assert curl(made, certificate, "/walt-vpn/server", *options) == (0, b"walt.example.org\n")
    [image] = image_pieces("default", 1)
    assert curl(made, certificate, IMAGE, *options) == (0, image)
    assert curl(made, certificate, IMAGE, "--range", "1000-", *options) == (0, image[1000:])
    assert len(walt.requests("boot.img")) == 1 and cache.images() == [digest]


def test_a_site_that_sends_visitors_to_https_still_boots_nodes(site, node, certificate):
    """The usual rewrite takes everything but what is the entrypoint's."""
    made = site(plain="RewriteEngine On\n    RewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [L,R=301]")
    assert made.get("/page").status == 301
    assert made.get("/walt-vpn/server").status == 200
    assert node(made).boot().booted
    assert curl(made, certificate, "/walt-vpn/server")[0] == 0


def test_a_download_that_breaks_off_does_not_end_like_a_whole_one(site, walt, certificate):
    """By TLS, too: no close notify, and no clean end, before the last byte."""
    made = site()
    made.reconfigure(server=made.server.replace("WaltVpnCacheRoot", "WaltVpnCacheRoot none\n#"))
    made.restart()
    made.tolerate_log(r"\[proxy")
    walt.fault("boot.img", "fin", at_byte=1 << 19)
    context = ssl.create_default_context(cafile=certificate)
    received = 0
    with socket.create_connection(("127.0.0.1", made.tls), 10) as plain, \
            context.wrap_socket(plain, server_hostname=NAME, suppress_ragged_eofs=False) as connection:
        connection.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (IMAGE, NAME)).encode())
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            while True:
                data = connection.recv(65536)
                assert data, "a clean end"
                received += len(data)
    assert 0 < received < 1 << 20
