"""walt-vpn-check on the entrypoint's machine: each mistake in the administrator's words, with what to do about it."""

import os
import pwd
import re
import shutil
import time

import pytest

import processes
from httpd import our_module

NAME = "walt-entry.test"
HERE = {NAME: ["127.0.0.1"]}
OTHER_SITE = "<VirtualHost *:@PORT@>\nServerName %s\n%s\n</VirtualHost>\n" \
             "<VirtualHost *:@PORT@>\nServerName %s\nWaltVpnServer %s\n</VirtualHost>"


@pytest.fixture
def ours(entrypoint, cache):
    return entrypoint(server_name=NAME, cache=cache.path)


def first_line(text):
    return text.splitlines()[0]


def has_remedy(text, said, remedy):
    """Is there a line that says this, and right below it what to do?"""
    return re.search(r"(?m)^  \w+ +.*%s.*\n +-> .*%s" % (said, remedy), text)


def test_nothing(check, ours):
    status, text = check(at=ours, names=HERE)
    assert status == 0
    assert first_line(text) == "WALT-VPN OK: %s: in order" % NAME
    assert re.search(r"(?m)^%s, entrypoint of 127\.0\.0\.1:\d+ \(.*httpd\.conf:\d+\)$" % NAME, text)
    assert re.search(r"ok +the WalT server, port \d+ of 127\.0\.0\.1, says walt\.example\.org in \d\.\d{3} s\n", text)
    assert re.search(r"ok +%s, port %d of 127\.0\.0\.1, says walt\.example\.org in \d.*, as the WalT server does\n"
                     % (NAME, ours.port), text)
    assert re.search(r"ok +cache folder \S+/images: 0 images, 0 of 1024 MiB, and \d+ MiB free on its disk\n", text)
    assert "CRITICAL" not in text and "UNKNOWN" not in text


def test_it_asks_only_for_what_nodes_ask(check, ours, walt):
    """And once each: of the WalT server directly, and through the entrypoint."""
    check("--node", "192.168.152.7", at=ours, names=HERE)
    assert {(request.method, request.target) for request in walt.requests()} == {
        ("GET", "/walt-vpn/server"), ("GET", "/walt-vpn/per-ip/192-168-152-7/boot.sig"),
        ("GET", "/walt-vpn/per-ip/192-168-152-7/boot.img")}
    assert len(walt.requests("/walt-vpn/server")) == 2


# The name

def test_a_name_without_an_address(check, ours):
    status, text = check(at=ours, names={NAME: []})
    assert status == 1
    assert first_line(text) == "WALT-VPN CRITICAL: %s does not resolve: Name or service not known" % NAME
    assert has_remedy(text, "does not resolve", "have an address entered for it in the DNS")


def test_no_name_server(check, ours):
    status, text = check(at=ours, names={NAME: None})
    assert status == 2
    assert first_line(text) == "WALT-VPN UNKNOWN: %s: Temporary failure in name resolution" % NAME
    assert has_remedy(text, "Temporary failure", "/etc/resolv.conf")


def test_a_slow_name_server(check, ours):
    """It is not waited for."""
    started = time.monotonic()
    status, text = check("--timeout", "0.5", at=ours, names={NAME: 50})
    assert status == 2 and has_remedy(text, "no name server answered within 0.5 s", "/etc/resolv.conf")
    assert time.monotonic() - started < 40


def test_what_nobody_has_thought_of(check, ours):
    """When the check itself fails, here on an address that is none, nothing is known of nodes."""
    status, text = check("--nagios", at=ours, names={NAME: [7]})
    assert status == 3 and "walt-vpn-check itself failed: " in text


def test_a_name_that_only_this_machine_knows(check, ours):
    """As Debian's /etc/hosts has 127.0.1.1 for the machine's own name."""
    status, text = check(at=ours, names=HERE)
    assert status == 0
    assert has_remedy(text, "%s is 127.0.0.1, which is this machine for itself alone" % NAME,
                      "ask from another machine .*walt-vpn-check http://%s" % NAME)


def test_a_name_that_leads_elsewhere(check, ours):
    """It may be a router's: only from outside can it be told. (To a multicast address no packet is sent.)"""
    status, text = check(at=ours, names={NAME: ["224.0.0.1"]})
    assert status == 2
    assert has_remedy(text, "%s is 224.0.0.1, which is no address of this machine" % NAME, "else mend the DNS")
    assert has_remedy(text, "port %d of 224.0.0.1: Network is unreachable" % ours.port, "ask from another machine")


def test_one_of_two_addresses(check, ours):
    """An IPv4 address must lead here. That IPv6 does not is said, no more."""
    status, text = check(at=ours, names={NAME: ["127.0.0.1", "::1"]})
    assert status == 0 and re.search("note .*port %d of ::1: " % ours.port, text)


def test_an_alias(check, entrypoint):
    ours = entrypoint(vhost="ServerAlias other.test *.pattern.test 2001:db8::7", server_name=NAME)
    status, text = check(at=ours, names=dict(HERE, **{"other.test": []}))
    assert status == 0
    assert re.search("ok +other.test, port %d of 127.0.0.1, says walt.example.org" % ours.port, text)
    assert re.search(r"ok +\[2001:db8::7\], port %d of 127.0.0.1, says walt.example.org" % ours.port, text)
    assert re.search("note +other.test does not resolve", text) and "pattern" not in text


# The port

def test_nobody_listens(check, ours):
    ours.stop()
    status, text = check(at=ours, names=HERE)
    assert status == 1
    assert first_line(text) == "WALT-VPN CRITICAL: %s, port %d of 127.0.0.1: Connection refused" % (NAME, ours.port)
    assert has_remedy(text, "Connection refused", 'start httpd, let it "Listen %d"' % ours.port)


def test_no_listen_for_that_port(check, ours):
    other = processes.free_port()
    ours.port, port = other, ours.port
    status, text = check(at=ours, names={NAME: []})
    ours.port = port
    assert status == 1
    assert has_remedy(text, "nothing in httpd's configuration listens on port %d" % other, 'write "Listen %d".*--port' % other)


@pytest.mark.parametrize("where, address", [("localhost", "127.0.0.1"), ("[0:0:0:0:0:0:0:1]", "::1")])
def test_a_listen_in_other_words(check, httpd, walt, where, address):
    """A name, or another spelling of an address of this machine."""
    if address == "::1" and not processes.has_ipv6():
        pytest.skip("this machine has no IPv6")
    port = processes.free_port()
    ours = httpd("<VirtualHost *:%d>\nServerName %s\nWaltVpnServer %s\n</VirtualHost>" % (port, NAME, walt.location),
                 server="Listen %s:%d" % (where, port))
    ours.port = port
    _, text = check(at=ours, names={NAME: ["224.0.0.1"]})
    assert "ok        %s, port %d of %s, says walt.example.org in " % (NAME, port, address) in text
    assert "nothing in httpd's configuration listens" not in text


def test_ipv4_through_a_listen_for_ipv6(check, httpd, walt):
    """Behind a router, at an address of this machine: that is where it is asked for, and found."""
    with open("/proc/net/fib_trie") as table:
        own = [address for address in re.findall(r"\|-- ([\d.]+)\n\s+/32 host LOCAL", table.read()) if address[:4] != "127."]
    if not own or not processes.has_ipv6():
        pytest.skip("this machine has no IPv6, or no address but that of loopback")
    port = processes.free_port()
    ours = httpd("<VirtualHost %s:%d>\nServerName %s\nWaltVpnServer %s\n</VirtualHost>"
                 % (own[0], port, NAME, walt.location), server="Listen [::]:%d" % port)
    ours.port = port
    _, text = check(at=ours, names={NAME: ["224.0.0.1"]})
    assert "ok        %s, port %d of %s, says walt.example.org in " % (NAME, port, own[0]) in text
    assert "CRITICAL" not in text


@pytest.mark.parametrize("lines, said", [
    ("", "status 404"),
    ('RedirectMatch "^/(.*)" "https://walt-entry.test/$1"', "status 302 to https://walt-entry.test/walt-vpn/server")])
def test_another_site_with_the_name(check, httpd, walt, lines, said):
    ours = httpd(OTHER_SITE % (NAME, lines, NAME, walt.location), modules=("alias", "proxy", "proxy_http", "walt_vpn"))
    ours.tolerate_log("walt_vpn")
    status, text = check(at=ours, names=HERE)
    assert status == 1
    assert has_remedy(text, "%s, port %d of 127.0.0.1: %s.*: this is not the entrypoint" % (NAME, ours.port, re.escape(said)),
                      "see which is first for it: apachectl -S")


def test_a_more_specific_address(check, httpd, walt):
    ours = httpd("<VirtualHost 127.0.0.2:@PORT@>\nServerName other.test\n</VirtualHost>\n"
                 "<VirtualHost *:@PORT@>\nServerName %s\nWaltVpnServer %s\n</VirtualHost>" % (NAME, walt.location),
                 server="Listen 127.0.0.2:@PORT@")
    ours.tolerate_log("walt_vpn")
    status, text = check(at=ours, names={NAME: ["127.0.0.2"]})
    assert status == 1
    assert re.search("CRITICAL +%s, port %d of 127.0.0.2: status 404.*this is not the entrypoint" % (NAME, ours.port), text)
    assert re.search("ok +%s, port %d of 127.0.0.1, says walt.example.org" % (NAME, ours.port), text)


def test_another_walt_servers_entrypoint(check, ours, walt):
    """The WalT server says one name directly, and another one through the port."""
    walt.fault("/walt-vpn/server", "raw", reply="HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nanother.test")
    status, text = check(at=ours, names=HERE)
    assert status == 1
    assert "it says walt.example.org, and the WalT server another.test: this is not its entrypoint" in first_line(text)


RESTRICTIONS = {    # of a site: the status that nodes get, and its remedy
    "Require all denied": ("status 403", 'let nodes and this machine in: in the site, <Location "/walt-vpn/"> with '
                                         '"Require all granted"; the error log .AH01630. has the refusal$'),
    "AuthType Basic\nAuthName x\nAuthBasicProvider file\nAuthUserFile @DIR@/none\nRequire valid-user": (
        "status 401", 'nodes have no password: in the site, <Location "/walt-vpn/"> with "Require all granted"$'),
}


@pytest.mark.parametrize("lines, said, remedy", [(lines, *rest) for lines, rest in RESTRICTIONS.items()], ids=["403", "401"])
def test_a_site_that_lets_nobody_in(check, entrypoint, lines, said, remedy):
    """And does when it says what it was told to say."""
    ours = entrypoint(vhost='<Location "/">\n%s\n</Location>' % lines, server_name=NAME,
                      modules=("authn_core", "authn_file", "authz_user", "auth_basic", "proxy", "proxy_http", "walt_vpn"))
    ours.tolerate_log("AH01630")
    status, text = check(at=ours, names=HERE)
    assert status == 1 and has_remedy(text, said, remedy)
    ours.reconfigure(vhost=ours.vhost + '\n<Location "/walt-vpn/">\nRequire all granted\n</Location>')
    ours.restart()
    assert check(at=ours, names=HERE)[0] == 0


def test_a_site_with_a_long_header(check, entrypoint):
    """Such as a policy for browsers, said for all sites: nodes are not given it, and nobody else minds."""
    ours = entrypoint(server_name=NAME, vhost='Header always set Content-Security-Policy "%s"' % ("default-src 'self'; " * 13),
                      modules=("headers", "proxy", "proxy_http", "walt_vpn"))
    ours.tolerate_log("header Content-Security-Policy: line of 200 bytes or more, or none, is left out")
    status, text = check("--node", "192.168.152.7", at=ours, names=HERE)
    assert ours.get("/walt-vpn/server").header("Content-Security-Policy")
    assert status == 0, text


# The WalT server

def test_another_entrypoint_in_its_place_by_an_ipv6_address(check, httpd, walt):
    """In a chain the next one answers to its names alone, and httpd to no address without brackets."""
    if not processes.has_ipv6():
        pytest.skip("this machine has no IPv6")
    port = processes.free_port()
    httpd("<VirtualHost *:%d>\nServerName inner.test\nServerAlias ::1\nWaltVpnServer %s\n</VirtualHost>"
          % (port, walt.location), server="Listen [::1]:%d" % port)
    ours = httpd("WaltVpnServer [::1]:%d" % port, server_name=NAME)
    status, text = check(at=ours, names=HERE)
    assert status == 0, text
    assert "ok        the WalT server, port %d of ::1, says walt.example.org in " % port in text


def test_a_walt_server_that_is_down(check, ours, walt):
    ours.tolerate_log("proxy")
    walt.down()
    status, text = check("--node", "192.168.152.7", at=ours, names=HERE)
    assert status == 1
    assert first_line(text) == "WALT-VPN CRITICAL: the WalT server, port %d of 127.0.0.1: Connection refused" % walt.port
    assert has_remedy(text, "Connection refused", "see that it runs, and that the firewalls between let this machine connect")
    assert has_remedy(text, "%s, port %d of 127.0.0.1: status 503" % (NAME, ours.port), "when the WalT server answers")
    assert has_remedy(text, "no node was tried", "mend the above first")


def test_a_walt_server_that_is_silent(check, ours, walt):
    ours.tolerate_log("proxy")
    walt.freeze()
    status, text = check("--timeout", "0.5", at=ours, names=HERE)
    walt.thaw()
    assert status == 1
    assert first_line(text).endswith("took the connection, and then did not answer within 0.5 s")
    assert has_remedy(text, "did not answer within", "restart its service, or give it more time with --timeout")
    assert re.search("UNKNOWN +%s, port %d of 127.0.0.1: took the connection" % (NAME, ours.port), text)


def test_a_walt_server_that_drips(check, ours, walt):
    """A byte now and then does not keep it alive."""
    ours.tolerate_log("AH00045")    # the entrypoint goes on listening to it
    walt.fault("/walt-vpn/server", "slow", rate=4, times=None)
    status, text = check("--timeout", "0.5", at=ours, names=HERE)
    assert status == 1 and "did not answer within 0.5 s" in first_line(text)


def test_a_walt_server_without_an_address(check, httpd):
    ours = httpd("WaltVpnServer walt.test", server_name=NAME)
    ours.tolerate_log("proxy|walt_vpn")
    status, text = check(at=ours, names=dict(HERE, **{"walt.test": []}))
    assert status == 1
    assert first_line(text) == "WALT-VPN CRITICAL: the WalT server walt.test does not resolve: Name or service not known"
    assert has_remedy(text, "walt.test does not resolve", r"mend WaltVpnServer \(.*httpd.conf:\d+\)")
    status, text = check(at=ours, names=dict(HERE, **{"walt.test": None}))
    assert status == 1 and has_remedy(text, "walt.test does not resolve: Temporary failure", "/etc/resolv.conf")


@pytest.mark.parametrize("reply, said", [
    ("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<h1>Hello!</h1>", "15 bytes that are no host name"),
    ("HTTP/1.1 404 Not Found\r\nServer: portal\r\nContent-Length: 0\r\n\r\n", "status 404 from portal"),
    ("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\n\r\n", "status 302 to http://portal/"),
    ("HTTP/1.1 200 OK\r\n\r\n", "no usable Content-Length"),
    ("220 mail.test ESMTP\r\n\r\n", "no HTTP status line")])
def test_something_else_than_a_walt_server(check, ours, walt, reply, said):
    walt.fault("/walt-vpn/server", "raw", reply=reply)
    status, text = check(at=ours, names=HERE)
    assert status == 1
    assert has_remedy(text, "the WalT server, .*, does not tell its name: .*" + re.escape(said),
                      "name the WalT server in WaltVpnServer")


def test_what_another_web_server_says_is_no_fault_of_the_site(check, ours, walt):
    """The entrypoint passes it on. Whether nodes reach it can't be told yet."""
    reply = "HTTP/1.1 404 Not Found\r\nServer: portal\r\nContent-Length: 0\r\n\r\n"
    walt.fault("/walt-vpn/server", "raw", reply=reply, times=None)
    _, text = check(at=ours, names=HERE)
    assert re.search(r"  UNKNOWN +%s, port %d of 127.0.0.1: status 404.*\n +-> ask again when WaltVpnServer is mended\n"
                     % (NAME, ours.port), text)
    assert "this is not" not in text


def test_a_next_entrypoint_that_is_cut_off(check, httpd, walt):
    """In a chain WaltVpnServer is right, and the fault lies behind what it names."""
    port = processes.free_port()
    inner = httpd("<VirtualHost *:%d>\nServerName localhost\nWaltVpnServer %s\n</VirtualHost>" % (port, walt.location),
                  server="Listen 127.0.0.1:%d" % port)
    ours = httpd("WaltVpnServer localhost:%d" % port, server_name=NAME)
    for entrypoint in (inner, ours):
        entrypoint.tolerate_log("proxy")
    walt.down()
    status, text = check(at=ours, names=dict(HERE, localhost=["127.0.0.1"]))
    assert status == 1 and "name the WalT server in WaltVpnServer" not in text
    assert has_remedy(text, "the WalT server localhost, .*, does not tell its name: status 503",
                      "if it is an entrypoint itself, call walt-vpn-check there$")
    assert has_remedy(text, "%s, port %d of 127.0.0.1: status 503" % (NAME, ours.port),
                      "ask again when the WalT server answers$")


def test_a_site_that_takes_the_name_while_the_walt_server_is_down(check, httpd, walt):
    """Nobody but that site can have said it."""
    ours = httpd(OTHER_SITE % (NAME, "", NAME, walt.location))
    ours.tolerate_log("walt_vpn")
    walt.down()
    _, text = check(at=ours, names=HERE)
    assert has_remedy(text, "status 404.*: this is not the entrypoint", "see which is first for it: apachectl -S")


def test_a_slow_walt_server(check, ours, walt):
    walt.fault("/walt-vpn/server", "silence", seconds=2.2)
    status, text = check(at=ours, names=HERE)
    assert status == 0
    assert has_remedy(text, r"the WalT server, .* says walt.example.org in [2-9]\.\d{3} s",
                      "walt-server-setup wants this within 2 s")


# The folder

def test_how_full_the_folder_is(check, ours, node, walt):
    walt.set_image(mib=3)
    assert node(ours).boot().booted
    _, text = check(at=ours, names=HERE)
    assert re.search(r"ok +cache folder \S+/images: 1 image, 3 of 1024 MiB, and \d+ MiB free on its disk\n", text)


def test_no_room_for_another_image(check, entrypoint, mounted, node, walt):
    walt.set_image(mib=3)
    place = mounted("small", 4)
    os.mkdir(place + "/images", 0o700)
    if os.getuid() == 0:
        os.chown(place + "/images", *pwd.getpwnam("www-data")[2:4])
    ours = entrypoint(server_name=NAME, cache=place + "/images")
    assert node(ours).boot().booted
    status, text = check(at=ours, names=HERE)
    assert status == 0
    assert has_remedy(text, "1 image, 3 of 1024 MiB, and 1 MiB free", "no room for another image like the largest")


def test_no_folder(check, entrypoint):
    status, text = check(at=entrypoint(server_name=NAME), names=HERE)
    assert status == 0 and has_remedy(text, "no cache folder: each image is relayed",
                                      'write "WaltVpnCacheRoot /var/cache/apache2/walt_vpn" .* in .*httpd.conf$')


def test_a_folder_that_is_gone(check, ours, cache):
    os.rmdir(cache.path)
    status, text = check(at=ours, names=HERE)
    assert status == 0 and has_remedy(text, "cache folder %s is not there" % cache.path, "httpd makes it when it starts")


def test_a_folder_that_httpd_would_not_use(check, ours, cache):
    """httpd itself says so, when it is asked for its configuration."""
    os.chmod(cache.path, 0o777)
    status, text = check(at=ours, names=HERE)
    assert status == 1
    assert first_line(text) == "WALT-VPN CRITICAL: httpd refuses its configuration, and would not start with it"
    assert "its mode is 0777" in text and 'type "chmod 700 %s"' % cache.path in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_ordinary_user(check, entrypoint, cache, folder, monkeypatch):
    """Sees all but what is in the folder."""
    monkeypatch.setenv("MOD_WALT_VPN", shutil.copy(our_module(), folder))
    ours = entrypoint(server_name=NAME, cache=cache.path)
    status, text = check(at=ours, names=HERE, user="nobody")
    assert status == 0
    assert has_remedy(text, "cache folder .* can be used; how full it is only root and www-data may see",
                      "sudo walt-vpn-check")
