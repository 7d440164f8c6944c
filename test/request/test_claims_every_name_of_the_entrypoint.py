"""A request below /walt-vpn/ is claimed when its host is the ServerName or a ServerAlias of the entrypoint."""

import pytest

import wire

ALIASES = "ServerAlias alias.example.org *.wild.example.org node?.example.org 192.0.2.7 [2001:db8::7] 2001:db8::8"

HOSTS = [
    ("entrypoint.example.org", "the ServerName"),
    ("ENTRYPOINT.Example.ORG", "case does not matter"),
    ("entrypoint.example.org:80", "nor does the port"),
    ("entrypoint.example.org:8080", "nor does another port"),
    ("entrypoint.example.org.", "nor a dot at the end"),
    ("entrypoint.example.org.:81", "nor both"),
    ("alias.example.org", "a ServerAlias"),
    ("Alias.Example.Org.:81", "a ServerAlias in another spelling"),
    ("some.wild.example.org", "a wildcard alias"),
    ("SOME.more.Wild.example.org", "a wildcard alias in another case"),
    ("some.wild.example.org:8080", "a wildcard alias with a port"),
    ("node7.example.org", "a wildcard of one character"),
    ("192.0.2.7", "an IPv4 address"),
    ("192.0.2.7:80", "an IPv4 address with a port"),
    ("[2001:db8::7]", "an IPv6 address"),
    ("[2001:DB8:0::7]:80", "an IPv6 address in another spelling, with a port"),
    ("[2001:db8::8]", "an IPv6 address whose alias has no brackets"),
]

# httpd refuses an IPv6 address as ServerName; it is an alias, above.
SERVER_NAMES = [
    ("entry.example.org:80", "entry.example.org", "a port in ServerName"),
    ("entry.example.org:8080", "entry.example.org:80", "ports that differ"),
    ("http://entry.example.org", "entry.example.org", "a scheme in ServerName"),
    ("https://entry.example.org:443", "entry.example.org", "what a site behind a TLS proxy has"),
    ("Entry.Example.org", "entry.example.org", "capitals in ServerName"),
    ("entry.example.org.", "entry.example.org", "a dot at the end of ServerName"),
    ("192.0.2.1", "192.0.2.1", "an IPv4 address"),
    ("localhost", "localhost", "a name without dots"),
]

ABSOLUTE = [
    ("http://entrypoint.example.org/walt-vpn/server", "entrypoint.example.org", "both agree"),
    ("http://entrypoint.example.org/walt-vpn/server", "elsewhere.example.org", "the target counts, not the Host line"),
    ("http://entrypoint.example.org:8080/walt-vpn/server", "x", "a port"),
    ("HTTP://EntryPoint.example.org./walt-vpn/server", "x", "another spelling"),
    ("http://192.0.2.7/walt-vpn/server", "x", "an IPv4 address"),
    ("http://[2001:db8::7]/walt-vpn/server", "x", "an IPv6 address"),
]


def assert_claimed(reply, walt):
    assert (reply.status, reply.body) == (200, b"walt.example.org\n")
    assert [request.target for request in walt.requests()] == ["/walt-vpn/server"]


@pytest.mark.parametrize("host, why", HOSTS)
def test_host(host, why, entrypoint, walt):
    """Every spelling of every name."""
    assert_claimed(entrypoint(vhost=ALIASES).get("/walt-vpn/server", host=host), walt)


@pytest.mark.parametrize("server_name, host, why", SERVER_NAMES)
def test_server_name(server_name, host, why, entrypoint, walt):
    """Every form that ServerName may have."""
    assert_claimed(entrypoint(server_name=server_name).get("/walt-vpn/server", host=host), walt)


@pytest.mark.parametrize("target, host, why", ABSOLUTE)
def test_absolute_form(target, host, why, entrypoint, walt):
    """A target in absolute form, as clients of proxies send it."""
    assert_claimed(entrypoint(vhost=ALIASES).get(target, host=host), walt)


def test_http_1_0_with_a_host(entrypoint, walt):
    """An old client that says which host it wants."""
    ours = entrypoint()
    assert_claimed(ours.get(raw=wire.request("/walt-vpn/server", ours.server_name, version="HTTP/1.0")), walt)


def test_a_name_of_the_main_server(httpd, walt):
    """Without any virtual host the main server is the entrypoint."""
    ours = httpd("<VirtualHost 192.0.2.1:80>\nServerName unused.example.org\n</VirtualHost>",
                 server="ServerName entrypoint.example.org\nWaltVpnServer " + walt.location)
    assert_claimed(ours.get("/walt-vpn/server"), walt)


@pytest.mark.parametrize("target, why", [
    ("/%77alt-vpn/server", "an escaped w is a w, says RFC 3986"),
    ("//walt-vpn/server", "httpd takes two slashes at the beginning for one"),
])
def test_spelling_of_the_prefix(target, why, entrypoint, walt):
    """Another spelling of the same prefix; the WalT server gets the plain one."""
    assert_claimed(entrypoint().get(target), walt)
