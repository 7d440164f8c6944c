"""A wrong configuration is refused by configtest, with one message: directive, value, file, line, remedy."""

import os
import re

import pytest

from httpd import DidNotStart

PROXIES = ("proxy", "proxy_http")
OURS = PROXIES + ("walt_vpn",)

# A value of WaltVpnServer, why.
MALFORMED = [
    ('http://walt.example.org', "a URL"),
    ('https://walt.example.org/walt-vpn/', "a whole URL"),
    ('walt.example.org/walt-vpn/', "a path"),
    ('walt.example.org/', "a slash"),
    ('root@walt.example.org', "user information"),
    ('"walt .example.org"', "a space"),
    ('"walt.example.org "', "a space at the end"),
    ('walt.example.org 8080', "two values"),
    ('', "no value"),
    ('""', "an empty value"),
    ('walt.example.org:0', "port 0"),
    ('walt.example.org:65536', "a port too high"),
    ('walt.example.org:99999999999999999999999', "a port beyond all numbers"),
    ('walt.example.org:4294967376', "a port that is 80 in 32 bits"),
    ('walt.example.org:-1', "a negative port"),
    ('walt.example.org:+80', "a port with a sign"),
    ('walt.example.org:http', "a port by name"),
    ('walt.example.org:80x', "a port with a tail"),
    ('walt.example.org:', "a colon without a port"),
    (':80', "a port alone"),
    ('8080', "a number, which may be a port"),
    ('[2001:db8::1', "an unclosed IPv6 address"),
    ('2001:db8::1', "a bare IPv6 address"),
    ('::1', "a bare IPv6 address for this machine"),
    ('[walt.example.org]', "a name in brackets"),
    ('[]', "empty brackets"),
    ('[::1]80', "no colon behind the brackets"),
    ('[::1]:x', "a bad port behind the brackets"),
    ('[fe80::1%eth0]', "an IPv6 address with a zone"),
    ('192.0.2.256', "a byte too large"),
    ('192.0.2', "three bytes"),
    ('192.0.2.1.5', "five bytes"),
    ('walt..example.org', "an empty label"),
    ('.example.org', "a dot at the beginning"),
    ('*.example.org', "a wildcard"),
    ('walt,example.org', "a comma"),
    ('walt?x', "a query"),
    ('walt|example', "a bar"),
    ('walt!.example.org', "a character that DNS does not have"),
    ('x' * 64 + '.example.org', "a label too long"),
    ('.'.join(['x' * 50] * 6), "a name too long"),
    ('${WALT}', "a variable that is not defined"),
]

OTHER_DIRECTIVES = [
    ("WaltVpnExpose", "some", ["all (everything below /walt-vpn/)", "boot"], "no such word"),
    ("WaltVpnExpose", '""', ["all", "boot"], "an empty value"),
    ("WaltVpnExpose", "", ["takes one argument"], "no value"),
    ("WaltVpnExpose", "all boot", ["takes one argument"], "two values"),
    ("WaltVpnCacheRoot", '""', ["takes one argument", "folder", "none"], "an empty value"),
    ("WaltVpnCacheRoot", "", ["takes one argument"], "no value"),
    ("WaltVpnCacheSize", "0", ["greater than zero", "as in WaltVpnCacheSize 1G"], "zero"),
    ("WaltVpnCacheSize", "-1", ["greater than zero"], "a negative size"),
    ("WaltVpnCacheSize", "1T", ["K, M or G"], "a unit that it does not know"),
    ("WaltVpnCacheSize", "1GB", ["K, M or G"], "a unit of two letters"),
    ("WaltVpnCacheSize", "1 G", ["takes one argument"], "a space before the unit"),
    ("WaltVpnCacheSize", "1.5G", ["a number of bytes"], "a fraction"),
    ("WaltVpnCacheSize", "G", ["a number of bytes"], "a unit alone"),
    ("WaltVpnCacheSize", "many", ["a number of bytes"], "a word"),
    ("WaltVpnCacheSize", '""', ["takes one argument", "bytes"], "an empty value"),
    ("WaltVpnCacheSize", "99999999999999999999", ["a number of bytes"], "more than there are"),
    ("WaltVpnCacheSize", "9999999999G", ["a number of bytes"], "more than there are, with a unit"),
]

SECTIONS = [
    '<Location "/walt-vpn/">', '<LocationMatch "^/walt-vpn/">', '<Directory "/srv">', '<DirectoryMatch "^/srv">',
    '<Files "x">', '<If "true">', '<Proxy "*">',
]

# What is wrong with a whole virtual host: lines, what must be said, why.  @LINE marks the line that the message names.
WHOLE = [
    ("ServerName entry.example.org\nWaltVpnServer one.example.org\nWaltVpnServer two.example.org #LINE",
     ["WaltVpnServer", "two.example.org", "one.example.org", "remove one of the two"], "twice"),
    ("WaltVpnServer walt.example.org #LINE",
     ["WaltVpnServer", "walt.example.org", "no ServerName in this virtual host", "add one"], "no ServerName"),
    ("ServerAlias entry.example.org\nWaltVpnServer walt.example.org #LINE",
     ["no ServerName in this virtual host", "add one"], "an alias is no ServerName"),
    ("ServerName entry.example.org\nWaltVpnServer entry.example.org:@PORT@ #LINE",
     ["WaltVpnServer", "entry.example.org:", "the entrypoint itself", "name the WalT server"], "a loop by ServerName"),
    ("ServerName entry.example.org\nWaltVpnServer ENTRY.example.org.:@PORT@ #LINE",
     ["the entrypoint itself"], "a loop in another spelling"),
    ("ServerName entry.example.org\nServerAlias walt.example.org\nWaltVpnServer walt.example.org:@PORT@ #LINE",
     ["the entrypoint itself"], "a loop by ServerAlias"),
    ("ServerName entry.example.org\nServerAlias *.lab.example.org\nWaltVpnServer walt.lab.example.org:@PORT@ #LINE",
     ["WaltVpnServer", "walt.lab.example.org:", "a ServerAlias with a wildcard", "write its address"], "a loop by a wildcard"),
    ("ServerName 127.0.0.1\nWaltVpnServer 127.0.0.1:@PORT@ #LINE",
     ["the entrypoint itself"], "a loop by address"),
    ("ServerName entry.example.org\nServerAlias [::1]\nWaltVpnServer [0:0::1]:@PORT@ #LINE",
     ["the entrypoint itself"], "a loop by IPv6 address"),
]

MODULES = [
    (("walt_vpn",), ["needs mod_proxy, which is not loaded", "a2enmod proxy proxy_http"], "no mod_proxy"),
    (("walt_vpn",) + PROXIES, ["needs mod_proxy loaded before it", "move LoadModule proxy_module above"], "mod_proxy comes later"),
    (("proxy", "walt_vpn"), ["needs mod_proxy_http, which is not loaded", "a2enmod proxy_http"], "no mod_proxy_http"),
]


def refusal(httpd, vhost="", marked=None, **options):
    """What configtest says; the start must say and do the same.  The line with #LINE, or `marked`, must be named."""
    ours = httpd(vhost, start=False, **options)
    status, said = ours.configtest()
    assert status != 0, said
    assert "Syntax OK" not in said and "undefined symbol" not in said
    number, conf = line_of(ours, marked or "#LINE")
    said = re.sub(r"\s+", " ", said)
    if number:
        assert re.search(r"line %d of %s:|\(%s:%d\)" % (number, conf, conf, number), said), said
    with pytest.raises(DidNotStart):
        ours.start()
    if os.path.exists(ours.error_log_path):
        os.unlink(ours.error_log_path)      # its words were on the console, too
    return said


def line_of(ours, marked):
    """Number of the line that is to be named; the mark itself is taken out of the file."""
    with open(ours.conf) as conf:
        lines = conf.read().split("\n")
    found = [number for number, line in enumerate(lines, 1) if marked in line]
    return (found[0] if found else None), re.escape(ours.conf)


@pytest.mark.parametrize("value, why", MALFORMED, ids=[row[1] for row in MALFORMED])
def test_value_of_walt_vpn_server(value, why, httpd):
    """A value that is no host[:port]."""
    said = refusal(httpd, "WaltVpnServer " + value, marked="WaltVpnServer")
    assert 'WaltVpnServer "%s": this is no host[:port]; write a host name, an IPv4 address or an IPv6 address in brackets, ' \
           'without http:// and without a path, and :port if it is not 80' % value.strip('"') in said


@pytest.mark.parametrize("directive, value, pieces, why", OTHER_DIRECTIVES, ids=["%s: %s" % (row[0], row[3]) for row in OTHER_DIRECTIVES])
def test_value_of_another_directive(directive, value, pieces, why, httpd):
    """A value that the other directives do not know."""
    said = refusal(httpd, "WaltVpnServer walt.example.org\n%s %s" % (directive, value), marked=directive)
    for piece in pieces + [directive, value.strip('"') if "takes one" not in pieces[0] else ""]:
        assert piece in said


@pytest.mark.parametrize("lines, pieces, why", WHOLE, ids=[row[2] for row in WHOLE])
def test_virtual_host(lines, pieces, why, httpd):
    """What only the whole virtual host shows."""
    marked = next(line for line in lines.split("\n") if "#LINE" in line).replace(" #LINE", "").partition(":@")[0]
    said = refusal(httpd, "<VirtualHost *:@PORT@>\n%s\n</VirtualHost>" % lines.replace(" #LINE", ""), marked=marked)
    for piece in pieces:
        assert piece in said


def test_wildcard_covers_no_address(httpd):
    """So a WalT server whose name looks like one of the virtual host's can be written as its address."""
    ours = httpd("<VirtualHost *:@PORT@>\nServerName entry.example.org\nServerAlias *\nWaltVpnServer 192.0.2.5:@PORT@\n"
                 "</VirtualHost>", start=False)
    status, said = ours.configtest()
    assert status == 0 and "Syntax OK" in said, said


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("directive", ["WaltVpnServer walt.example.org", "WaltVpnExpose boot", "WaltVpnCacheRoot none",
                                       "WaltVpnCacheSize 1G"], ids=lambda directive: directive.split()[0])
def test_section(section, directive, httpd):
    """A section narrower than a virtual host."""
    name = section[1:].split()[0]
    said = refusal(httpd, "%s\n%s\n</%s>" % (section, directive, name), marked=directive)
    for piece in directive.split() + ["inside <" + name, "move it out"]:
        assert piece in said


@pytest.mark.parametrize("vhost", ["", "WaltVpnServer walt.example.org"], ids=["unused", "used"])
@pytest.mark.parametrize("modules, pieces, why", MODULES, ids=[row[2] for row in MODULES])
def test_modules(modules, pieces, why, vhost, httpd):
    """A module that is missing or late, whether or not an entrypoint is configured."""
    said = refusal(httpd, vhost, modules=modules, marked=vhost or None)
    for piece in pieces + ([vhost] if vhost else ["LoadModule walt_vpn_module"]):
        assert piece in said


def test_mod_proxy_http_may_come_later(httpd, walt, node):
    """Nothing of ours is linked with it."""
    ours = httpd("WaltVpnServer %s\nWaltVpnCacheRoot images" % walt.location, modules=("proxy", "walt_vpn", "proxy_http"))
    assert ours.get("/walt-vpn/server").status == 200
    assert node(ours).boot().booted


def test_main_server_without_a_name(httpd):
    """httpd makes up a name for the main server; nodes do not know it."""
    ours = httpd("<VirtualHost *:@PORT@>\nServerName x.example.org\n</VirtualHost>", start=False,
                 server="WaltVpnServer walt.example.org")
    ours.write_configuration = lambda write=ours.write_configuration: (write(), drop_line(ours.conf, "ServerName localhost"))
    status, said = ours.configtest()
    assert status != 0
    number, conf = line_of(ours, "WaltVpnServer")
    assert re.search(r"WaltVpnServer walt.example.org \(%s:%d\): there is no ServerName for the main server; add one"
                     % (conf, number), said), said


def drop_line(path, line):
    with open(path) as conf:
        text = conf.read()
    assert line in text
    with open(path, "w") as conf:
        conf.write(text.replace(line, ""))


def test_a_loop_of_the_main_server(httpd):
    """The main server answers on every port."""
    said = refusal(httpd, "<VirtualHost 192.0.2.1:80>\nServerName x.example.org\n</VirtualHost>",
                   server="ServerName entry.example.org\nWaltVpnServer entry.example.org:@PORT@", marked="WaltVpnServer")
    assert "the entrypoint itself" in said


def test_an_included_file_is_named(httpd, folder):
    """File and line are those of the directive, wherever it stands."""
    with open(folder + "/site.conf", "w") as site:
        site.write("# a site\n\nWaltVpnServer http://walt.example.org\n")
    ours = httpd("Include %s/site.conf" % folder, start=False)
    status, said = ours.configtest()
    assert status != 0 and "line 3 of %s/site.conf" % folder in said

    with open(folder + "/site.conf", "w") as site:
        site.write("<VirtualHost *:@PORT@>\nWaltVpnServer walt.example.org\n</VirtualHost>\n".replace("@PORT@", "1"))
    ours = httpd("<VirtualHost *:@PORT@>\nServerName x\n</VirtualHost>\nInclude %s/site.conf" % folder, start=False)
    status, said = ours.configtest()
    assert status != 0 and "WaltVpnServer walt.example.org (%s/site.conf:2): there is no ServerName" % folder in said


def test_htaccess(httpd):
    """The owner of a folder makes no entrypoint of it."""
    ours = httpd('<Directory "@DIR@/htdocs">\nAllowOverride All\n</Directory>')
    ours.expect_log("WaltVpnServer not allowed here")
    with open(os.path.join(ours.folder, "htdocs", ".htaccess"), "w") as htaccess:
        htaccess.write("WaltVpnServer walt.example.org\n")
    assert ours.get("/page").status == 500


@pytest.mark.parametrize("lines, why", [
    ("ServerName entry.example.org\nWaltVpnServer entry.example.org:1", "another service of the same machine"),
    ("ServerName entry.example.org\nWaltVpnServer walt.example.org:@PORT@", "another machine, on the same port"),
    ("ServerName entry.example.org\n<IfModule walt_vpn_module>\nWaltVpnServer walt.example.org\n</IfModule>",
     "what a site does that shall outlive the package"),
    ("<IfModule walt_vpn_module>\nServerName entry.example.org\n</IfModule>\nWaltVpnServer walt.example.org", "the other way round"),
    ("WaltVpnServer walt.example.org\nServerName entry.example.org", "any order"),
    ("servername entry.example.org\nwaltvpnserver WALT.Example.Org.", "any case, and a dot at the end"),
    ("ServerName entry.example.org\nWaltVpnServer walt", "a name without dots"),
    ("ServerName entry.example.org\nWaltVpnServer walt_server-1.example.org:65535", "an underscore, a dash, the last port"),
    ("ServerName entry.example.org\nWaltVpnServer [::ffff:192.0.2.1]:8080", "an IPv4 address in IPv6"),
    ("ServerName entry.example.org\nWaltVpnServer walt.example.org\nWaltVpnExpose BOOT\nWaltVpnCacheRoot None\nWaltVpnCacheSize 1g",
     "words in any case"),
    ("ServerName entry.example.org\nWaltVpnServer walt.example.org\nWaltVpnCacheRoot images\nWaltVpnCacheSize 512k",
     "a folder below ServerRoot"),
])
def test_accepted(lines, why, httpd):
    """And what is right is taken."""
    ours = httpd("<VirtualHost *:@PORT@>\n%s\n</VirtualHost>" % lines, start=False)
    assert ours.configtest()[0] == 0


def test_a_macro(httpd):
    """ServerName and WaltVpnServer may come out of mod_macro."""
    ours = httpd("<VirtualHost *:@PORT@>\nUse Entrypoint entry.example.org walt.example.org\n</VirtualHost>", start=False,
                 server="<Macro Entrypoint $name $walt>\nServerName $name\nWaltVpnServer $walt\n</Macro>",
                 modules=("macro",) + OURS)
    assert ours.configtest()[0] == 0
