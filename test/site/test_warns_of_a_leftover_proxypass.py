"""configtest and start warn of what still passes /walt-vpn/ on without the module, wherever it is written."""

import re

import pytest

import wire

SITE = "<VirtualHost *:80>\nServerName entry.example.org\nWaltVpnServer 192.0.2.7\nWaltVpnExpose boot\n%s\n</VirtualHost>\n"
OTHER = "<VirtualHost *:80>\nServerName other.example.org\n%s\n</VirtualHost>\n"
WARNING = "%s (%s): it passes requests below /walt-vpn/ on to the WalT server unguarded, under every name that is no " \
          "entrypoint's; take it out"
MODULES = ("proxy", "proxy_http", "rewrite", "alias", "walt_vpn")

# The line that is left over, what stands around it (%s is its place), why.
LEFTOVERS = [
    ('ProxyPass "/walt-vpn/" "http://walt.example.org/walt-vpn/"', "%s", "as WalT documents it"),
    ("ProxyPass /walt-vpn http://walt.example.org/walt-vpn", "%s", "without the last slash"),
    ("ProxyPass /walt-vpn/per-ip/ http://walt.example.org/walt-vpn/per-ip/", "%s", "a part of it"),
    ("ProxyPass /vpn/ http://walt.example.org/walt-vpn/", "%s", "under another path"),
    ("ProxyPass /walt-vpn/ http://walt.example.org/walt-vpn/ retry=0", "%s", "with settings"),
    ("ProxyPass http://walt.example.org/walt-vpn/", '<Location "/walt-vpn/">\n%s\n</Location>', "in a Location"),
    ("ProxyPass http://walt.example.org/", '<Location "/walt-vpn">\nRequire all granted\n%s\n</Location>',
     "in a Location, by its path"),
    (r'ProxyPassMatch "^/walt-vpn/(.*)$" "http://walt.example.org/walt-vpn/$1"', "%s", "a pattern"),
    (r'ProxyPassMatch "^(/walt\-vpn/.*)$" "http://walt.example.org$1"', "%s", "a pattern, escaped"),
    (r'ProxyPassMatch "http://walt.example.org$0"', '<LocationMatch "^/walt-vpn/.*$">\n%s\n</LocationMatch>',
     "in a LocationMatch"),
    ('SetHandler "proxy:http://walt.example.org"', '<Location "/walt-vpn/">\n%s\n</Location>', "a handler"),
    ('SetHandler "proxy:http://walt.example.org"', '<Location ~ "^/walt-vpn/">\n%s\n</Location>', "a handler, by a pattern"),
    ("RewriteRule ^/walt-vpn/(.*)$ http://walt.example.org/walt-vpn/$1 [P]", "RewriteEngine on\n%s", "a rewrite"),
    ("RewriteRule ^/?walt-vpn/ http://walt.example.org%{REQUEST_URI} [NC,proxy,L]", "RewriteEngine on\n%s",
     "a rewrite, other words"),
    ("RewriteRule ^/vpn/(.*)$ http://walt.example.org/walt-vpn/$1 [L,P]", "RewriteEngine on\n%s", "a rewrite of another path"),
    ("RewriteRule ^ http://walt.example.org%{REQUEST_URI} [P]",
     "RewriteEngine on\nRewriteCond %%{REQUEST_URI} ^/walt-vpn/\nRewriteCond %%{HTTPS} off\n%s", "a rewrite on a condition"),
    ("ProxyPass /walt-vpn/ http://walt.example.org/walt-vpn/", "<IfModule mod_proxy.c>\n%s\n</IfModule>", "in an IfModule"),
]

NONE = [
    ("ProxyPass / http://www.example.org/", "a site-wide one"),
    ("ProxyPass /walt-vpn/ !\nProxyPass / http://www.example.org/", "an exception from it"),
    ("<Location /walt-vpn/>\nProxyPass !\n</Location>", "an exception in a Location"),
    ("ProxyPass /walt-vpnx/ http://www.example.org/", "another path"),
    ("ProxyPass /x/ http://walt-vpn/\nProxyPass /y/ http://walt-vpn.example.org/walt/", "a host of that name"),
    ("ProxyPassMatch ^/(?!walt-vpn/)(.*) http://www.example.org/$1", "all but it"),
    ("ProxyPassMatch (?!/walt-vpn/)(.*) http://www.example.org/$1", "all but it, otherwise"),
    ("ProxyPassMatch ^/my-walt-vpn/ http://www.example.org/", "a longer name"),
    (r"ProxyPassMatch ^/walt\-vpn\-old/ http://www.example.org/", "a longer name, escaped"),
    ("RewriteCond %{REQUEST_URI} !^/walt-vpn/\nRewriteRule ^ http://www.example.org%{REQUEST_URI} [P]",
     "a rewrite of all but it"),
    ("RewriteRule !^/walt-vpn/ http://www.example.org%{REQUEST_URI} [P]", "the same in one line"),
    ("RewriteRule ^/walt-vpn/ - [F]\nRewriteRule ^/walt-vpn/page /page", "rewrites that pass nothing on"),
    ("RewriteCond %{REQUEST_URI} ^/walt-vpn/\nRewriteRule ^ - [L]\nRewriteRule ^ http://www.example.org%{REQUEST_URI} [P]",
     "a condition of another rule"),
    ("<Location /walt-vpn/>\nRequire all granted\nSetHandler default-handler\n</Location>", "access rules"),
    ("<Proxy http://192.0.2.7/walt-vpn/>\nProxySet timeout=10\n</Proxy>", "settings of our worker"),
    ("ProxyPassReverse /walt-vpn/ http://192.0.2.7/walt-vpn/", "what only mends replies"),
    ("Alias /walt-vpn/ /srv/", "files"),
]


@pytest.mark.parametrize("where", ["entrypoint", "other site", "main server"])
@pytest.mark.parametrize("line, around, why", LEFTOVERS, ids=[row[2] for row in LEFTOVERS])
def test_leftover(line, around, why, where, httpd):
    """One warning, with its text, file and line."""
    text = around % line
    vhost = SITE % (text if where == "entrypoint" else "") + OTHER % (text if where == "other site" else "")
    ours = httpd(vhost, start=False, server="Listen 80\n" + (text if where == "main server" else ""), modules=MODULES)
    warnings = ours.warnings()
    # httpd writes its log with two backslashes for one.
    assert warnings == [WARNING % (line.replace("\\", r"\\"), ours.place(line))]


@pytest.mark.parametrize("lines, why", NONE, ids=[row[1] for row in NONE])
def test_no_leftover(lines, why, httpd):
    """What is not about /walt-vpn/ is the site's own affair."""
    assert httpd(SITE % lines + OTHER % lines, start=False, server="Listen 80", modules=MODULES).warnings() == []


def test_included_file(httpd, folder):
    """The file that holds it is named."""
    line = 'ProxyPass "/walt-vpn/" "http://walt.example.org/walt-vpn/"'
    with open(folder + "/old.conf", "w") as old:
        old.write("\n" + OTHER % line)
    ours = httpd(SITE % "", start=False, server="Listen 80\nInclude %s/old.conf" % folder)
    assert ours.warnings() == [WARNING % (line, folder + "/old.conf:4")]


def test_without_an_entrypoint_nothing_is_left_over(httpd):
    """Who has the module and does not use it yet is served by what there is."""
    assert httpd(OTHER % "ProxyPass /walt-vpn/ http://walt.example.org/walt-vpn/", start=False).warnings() == []


def test_at_start(entrypoint, walt):
    """It is warned of because it is so: under another name the WalT server's own dangers are in reach."""
    line = "ProxyPass /walt-vpn/ http://%s/walt-vpn/" % walt.location
    ours = entrypoint(vhost="WaltVpnExpose boot\n" + line)
    ours.expect_log(r"\[walt_vpn:warn\] .*" + re.escape(WARNING % (line, ours.place(line))))
    assert len(re.findall(" it passes requests below /walt-vpn/ on", ours.error_log)) == 1
    assert ours.get("/walt-vpn/node-conf/x").status == 404
    assert ours.get(raw=wire.request("/walt-vpn/node-conf/x", "elsewhere.example.org")).status == 200
