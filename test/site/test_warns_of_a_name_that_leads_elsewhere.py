"""configtest and start ask httpd's own matching who gets the requests of nodes, and warn where it is not the entrypoint.

Nothing is bound by configtest, so that port 80 can be had.
"""

import re
import socket

import pytest

import processes
from httpd import ENTRYPOINT

OTHER = "<VirtualHost *:80>\nServerName other.example.org\n%s\n</VirtualHost>\n"
NAMELESS = "<VirtualHost *:80>\nDocumentRoot @DIR@/htdocs\n</VirtualHost>\n"
ENTRY = "<VirtualHost %s>\nServerName entry.example.org\nWaltVpnServer 192.0.2.7\nWaltVpnExpose boot\n%s\n</VirtualHost>\n"
PLAIN = ENTRY % ("*:80", "")

ORDER = "; have the entrypoint read before it, in a <VirtualHost> that names the same address and port"
FORM = ", as httpd does not know the name in this form; write "

# The sites, lines outside of them, the names that lead astray, at which places, the site that gets them (counted from 0), what
# is said of it, and why.
ASTRAY = [
    (OTHER % "ServerAlias entry.example.org" + PLAIN, "Listen 80", "entry.example.org", "*:80", 0, ORDER,
     "an alias of another site"),
    (OTHER % "ServerAlias *.example.org" + PLAIN, "Listen 80", "entry.example.org", "*:80", 0, ORDER,
     "a pattern of another site"),
    ("<VirtualHost *:80>\nServerName Entry.Example.org\n</VirtualHost>\n" + PLAIN, "Listen 80", "entry.example.org", "*:80",
     0, ORDER,
     "the ServerName of another site, in another case"),
    (OTHER % "ServerAlias b.example.org *.c.example.org" + ENTRY % ("*:80",
     "ServerAlias a.example.org b.example.org *.c.example.org"),
     "Listen 80", "b.example.org, *.c.example.org", "*:80", 0, ORDER, "some of its names, a pattern among them"),
    (OTHER % "ServerAlias *" + ENTRY % ("*:80", "ServerAlias a.example.org"), "Listen 80", "entry.example.org, a.example.org",
     "*:80", 0,
     ORDER, "all of its names"),
    (OTHER % "ServerAlias entry.example.org" + ENTRY % ("*:80 *:81", ""), "Listen 80\nListen 81", "entry.example.org", "*:80",
     0, ORDER,
     "on one of its ports"),
    (OTHER % "ServerAlias entry.example.org" + PLAIN, "Listen 127.0.0.2:80\nListen [::1]:80", "entry.example.org",
     "127.0.0.2:80, [::1]:80", 0, ORDER, "on all addresses that are listened on"),
    (NAMELESS + PLAIN, "ServerName entry.example.org\nListen 80", "entry.example.org", "*:80", 0,
     ORDER, "a default site without a name, which goes by the main server's"),
    ("<VirtualHost *:80>\nServerName entry.example.org\nWaltVpnServer 192.0.2.8\nWaltVpnExpose boot\n</VirtualHost>\n" + PLAIN,
     "Listen 80", "entry.example.org", "*:80", 0,
     ORDER, "two entrypoints"),
    ("<VirtualHost 127.0.0.2:80>\nServerName other.example.org\n</VirtualHost>\n" + ENTRY % ("*:80",
     "ServerAlias a.example.org"),
     "Listen 127.0.0.2:80\nListen 127.0.0.3:80", "entry.example.org, a.example.org", "127.0.0.2:80", 0,
     ORDER, "an address"),
    ("<VirtualHost 127.0.0.2:80>\nServerName entry.example.org\n</VirtualHost>\n" + ENTRY % ("127.0.0.2:80 *:80", ""),
     "Listen 80",
     "entry.example.org", "127.0.0.2:80", 0, ORDER, "at an address of loopback, which it names"),
    ("<VirtualHost [::1]:80>\nServerName other.example.org\n</VirtualHost>\n" + PLAIN, "Listen [::1]:80\nListen 127.0.0.3:80",
     "entry.example.org", "[::1]:80", 0,
     ORDER, "an address of IPv6"),
    (OTHER % "" + ENTRY % ("*:*", ""), "Listen 80", "entry.example.org", "*:80", 0,
     ORDER, "a port, to any port"),
    (OTHER % "", "ServerName entry.example.org\nWaltVpnServer 192.0.2.7\nWaltVpnExpose boot\nListen 80", "entry.example.org",
     "*:80", 0,
     ORDER, "virtual hosts, to the main server"),
    (OTHER % "" + ENTRY % ("*:80", "ServerAlias [2001:db8::7] 2001:db8::8"), "Listen 80", "[2001:db8::7]", "*:80", 0,
     FORM + "2001:db8::7", "an IPv6 address in brackets"),
    (OTHER % "" + ENTRY % ("*:80", "ServerAlias a.example.org."), "Listen 80", "a.example.org.", "*:80", 0,
     FORM + "a.example.org", "a dot at the end of a name"),
    (ENTRY % ("*:80", "ServerAlias a.example.org:80"), "Listen 80", "a.example.org:80", "*:80", 0,
     FORM + "a.example.org", "a port behind an alias, in the site itself"),
    (OTHER % "" + ENTRY % ("*:80", "ServerAlias a.example.org:80"), "Listen 80", "a.example.org:80", "*:80", 0,
     FORM + "a.example.org", "a port behind an alias"),
]

RIGHT = [
    (PLAIN, "Listen 80", "an entrypoint alone"),
    (OTHER % "" + ENTRY % ("*:80",
     "ServerAlias a.example.org b.example.net *.c.example.org d?.example.org 192.0.2.9 2001:db8::8"),
     "Listen 80", "several names, and another site"),
    (PLAIN + OTHER % "ServerAlias entry.example.org *", "Listen 80", "it is read first"),
    (OTHER % "ServerAlias *.example.org" + ENTRY % ("127.0.0.2:80", ""), "Listen 80", "it is the more specific one"),
    ("<VirtualHost *:81>\nServerName entry.example.org\n</VirtualHost>\n" + PLAIN, "Listen 80\nListen 81",
     "the same name on another port"),
    ("<VirtualHost *:443>\nServerName entry.example.org\n</VirtualHost>\n" + ENTRY % ("*:*", ""), "Listen 80\nListen 443",
     "the site by https is another, the entrypoint is on any port"),
    (ENTRY % ("*:443", "") + PLAIN, "Listen 80\nListen 443", "the entrypoint by http and by https"),
    (ENTRY % ("127.0.0.2:80", "") + PLAIN, "Listen 127.0.0.2:80\nListen 127.0.0.3:80", "one entrypoint, written by addresses"),
    (OTHER % "" + ENTRY % ("[::1]:80", ""), "Listen [::1]:80", "an address of IPv6"),
    ("", "ServerName entry.example.org\nWaltVpnServer 192.0.2.7\nWaltVpnExpose boot\nListen 80", "the main server"),
    ("<VirtualHost *:443>\nServerName entry.example.org\n</VirtualHost>\n",
     "ServerName entry.example.org\nWaltVpnServer 192.0.2.7\nWaltVpnExpose boot\nListen 80\nListen 443",
     "the main server, and the site by https is another"),
    ("<VirtualHost 127.0.0.1:80 [::1]:80>\nServerName localhost\n</VirtualHost>\n" + PLAIN, "Listen 80",
     "a site for the machine itself, where no node comes from"),
    ("<VirtualHost 203.0.113.5:80>\nServerName other.example.org\n</VirtualHost>\n" + PLAIN, "Listen 80",
     "a site of an address that the machine does not have"),
    (NAMELESS + PLAIN, "Listen 80", "a default site without a name, where the main server has another one"),
]


def configured(httpd, sites, server):
    """The test's own httpd is a virtual host, too: out of the way."""
    if "[::1]" in sites + server and not processes.has_ipv6():
        pytest.skip("this machine has no IPv6")
    return httpd(sites or "<VirtualHost *:1>\nServerName unused.example.org\n</VirtualHost>", start=False, server=server)


@pytest.mark.parametrize("sites, server, names, places, winner, said, why", ASTRAY, ids=[row[6] for row in ASTRAY])
def test_leads_astray(sites, server, names, places, winner, said, why, httpd):
    """One warning, with the entrypoint's place, the place of who gets its requests, and what to change."""
    ours = configured(httpd, sites, server)
    warnings = ours.warnings()
    pairs = ", ".join("%s at %s" % (name, place) for name in names.split(", ") for place in places.split(", "))
    assert warnings == ["WaltVpnServer 192.0.2.7 (%s): requests for %s go to the <VirtualHost> at %s%s"
                        % (ours.place("WaltVpnServer 192.0.2.7"), pairs, ours.place("<VirtualHost", winner), said)]


@pytest.mark.parametrize("sites, server, names, places", [row[:4] for row in ASTRAY if row[5] == ORDER],
                         ids=[row[6] for row in ASTRAY if row[5] == ORDER])
def test_the_remedy_is_one(sites, server, names, places, httpd):
    """The entrypoint comes first, at the same addresses and ports, and gets its requests."""
    first = ENTRY % (places.replace(",", ""), "ServerAlias " + names.replace(",", ""))
    warnings = configured(httpd, first + sites, server).warnings()
    assert not any("192.0.2.7" in warning for warning in warnings), warnings


@pytest.mark.parametrize("sites, server, why", RIGHT, ids=[row[2] for row in RIGHT])
def test_leads_here(sites, server, why, httpd):
    """And none where all is well."""
    assert configured(httpd, sites, server).warnings() == []


def test_an_address_of_the_machine_behind_a_listen_for_all(httpd):
    """The way it is met: a site has the machine's address, the entrypoint any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("192.0.2.1", 9))         # sends nothing
        except OSError:
            pytest.skip("this machine has no address but 127.0.0.1")
        address = route.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but 127.0.0.1")
    ours = httpd("<VirtualHost %s:80>\nServerName other.example.org\n</VirtualHost>\n" % address + PLAIN, start=False,
                 server="Listen 80")
    warnings = ours.warnings()
    assert len(warnings) == 1
    assert "requests for entry.example.org at %s:80 go to the <VirtualHost> at %s; have the entrypoint read before it" % (
        address, ours.place("<VirtualHost")) in warnings[0]


@pytest.mark.parametrize("name", ["entry.example.9x", "a,b.example.org", "10.0.0"])
def test_a_name_that_httpd_refuses(name, httpd):
    """A node would take the body of the 400 for its file. httpd logs such a name with whatever of the request it is told to."""
    ours = httpd(ENTRY % ("*:80", "ServerAlias " + name), start=False, modules=("unique_id",) + ENTRYPOINT,
                 server='Listen 80\nLogLevel trace8\n'
                        'ErrorLogFormat "%M, from %a on %A, log %L, %{c}L, %{UNIQUE_ID}e, %{X}n, %{X}i, %k"\n'
                        'ErrorLogFormat request "a request"\nErrorLogFormat connection "a connection"')
    lines = ours.warnings()
    assert "a connection" not in lines and "a request" not in lines
    assert [line for line in lines if "WaltVpnServer" in line] == [
        "WaltVpnServer 192.0.2.7 (%s): requests for %s at *:80 go to nobody, as httpd refuses such a name with 400 "
        "(HttpProtocolOptions Strict); use letters, digits, hyphens and dots, and a letter where its last part begins"
        % (ours.place("WaltVpnServer"), name)]


def test_a_name_that_httpd_refuses_unless_it_is_told_not_to(httpd):
    assert httpd(ENTRY % ("*:80", "ServerAlias a.example.9x"), start=False,
                 server="Listen 80\nHttpProtocolOptions Unsafe").warnings() == []


def test_included_files_are_named(httpd, folder):
    """Both places are those of the files where the lines stand."""
    for name, text in (("site", OTHER % "ServerAlias *.example.org"), ("entry", PLAIN)):
        with open("%s/%s.conf" % (folder, name), "w") as site:
            site.write(text)
    ours = configured(httpd, "", "Listen 80\nInclude {0}/site.conf\nInclude {0}/entry.conf".format(folder))
    warnings = ours.warnings()
    assert len(warnings) == 1
    assert warnings[0].startswith("WaltVpnServer 192.0.2.7 ({0}/entry.conf:3): requests for entry.example.org at *:80 go to "
                                  "the <VirtualHost> at {0}/site.conf:1; have the entrypoint read before it".format(folder))


def test_an_ipv6_address_is_known_without_brackets(httpd, walt):
    """What the warning says of it is true."""
    ours = httpd("<VirtualHost *:@PORT@>\nServerName other.example.org\n</VirtualHost>\n"
                 "<VirtualHost *:@PORT@>\nServerName entry.example.org\n"
                 "ServerAlias [2001:db8::7] 2001:db8::8\nWaltVpnServer %s\n</VirtualHost>" % walt.location)
    ours.expect_log(r"requests for \[2001:db8::7\] at .* go to .* write 2001:db8::7")
    assert ours.get("/walt-vpn/server", host="[2001:db8::7]").status == 404
    assert ours.get("/walt-vpn/server", host="[2001:db8::8]").status == 200


def test_it_is_so(httpd, walt):
    """The start warns once, and each restart as long as it is so; the notice comes when it is true, and names the ports."""
    entry = "<VirtualHost *:@PORT@>\nServerName entry.example.org\nWaltVpnServer %s\n</VirtualHost>\n" % walt.location
    other = "<VirtualHost *:@PORT@>\nServerName other.example.org\nServerAlias *.example.org\n</VirtualHost>\n"
    warning = r"\[walt_vpn:warn\] .*WaltVpnServer %s \(.*\): requests for entry\.example\.org at 127\.0\.0\.1:\d+ go to the " \
              % re.escape(walt.location)

    ours = httpd(other + entry)
    ours.expect_log(warning)
    assert ours.get("/walt-vpn/server", host="entry.example.org").status == 404
    assert len(re.findall(warning, ours.error_log)) == 1
    ours.graceful()
    assert len(re.findall(warning, ours.error_log)) == 2
    assert "is the WalT VPN HTTP entrypoint" not in ours.error_log

    ours.reconfigure(vhost=entry + other)
    ours.restart()
    assert ours.get("/walt-vpn/server", host="entry.example.org").status == 200
    assert len(re.findall(warning, ours.error_log)) == 2
    assert "entry.example.org is the WalT VPN HTTP entrypoint of http://%s/walt-vpn/ at 127.0.0.1:%d, " % (
        walt.location, ours.port) in ours.error_log


def test_the_notice_names_all_places(httpd):
    """Those where it is true, once each."""
    ours = httpd("<VirtualHost *:@PORT@>\nServerName entry.example.org\nWaltVpnServer 127.0.0.77\n</VirtualHost>\n"
                 "<VirtualHost 127.0.0.3:@PORT@>\nServerName other.example.org\n</VirtualHost>",
                 server="Listen 127.0.0.2:@PORT@\nListen 127.0.0.3:@PORT@")
    ours.tolerate_log("have the entrypoint read before it")
    assert "entrypoint of http://127.0.0.77/walt-vpn/ at " in ours.error_log
    places = re.search("walt-vpn/ at (.*), exposing", ours.error_log).group(1).split(", ")
    assert sorted(places) == ["127.0.0.%d:%d" % (n, ours.port) for n in (1, 2)]
