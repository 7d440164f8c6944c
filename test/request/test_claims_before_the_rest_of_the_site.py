"""Whatever the same virtual host does with all of its URLs, a node's requests are claimed, and nothing else is lost."""

import os

import pytest

import wire

REWRITE_TO_HTTPS = ("RewriteEngine On\nRewriteCond %{HTTPS} !=on\n"
                    "RewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [L,R=301]")
HTTPS = ("/page", 301, "Location", "https://entrypoint.example.org/page")
BACKEND = ("/page", 404, "Server", None)
PAGE = ("/page", 200, "Content-Length", "11")

# modules beside ours, lines in the virtual host, what another request gets, why
SITES = [
    ([], 'ProxyPass "/" "@OTHER@/"', BACKEND, "a reverse proxy for the whole site"),
    ([], 'ProxyPass "/" "@OTHER@/" mapping=encoded', BACKEND, "one that maps before translate_name"),
    ([], 'ProxyPass "/" "@OTHER@/" nocanon', BACKEND, "one that maps undecoded"),
    ([], 'ProxyPass "/walt-vpn/" "@OTHER@/walt-vpn/"\nProxyPass "/" "@OTHER@/"', BACKEND, "the same prefix, elsewhere"),
    ([], 'ProxyPassMatch "^/(.*)$" "@OTHER@/$1"', BACKEND, "one by pattern"),
    ([], '<Location "/">\nProxyPass "@OTHER@/"\n</Location>', BACKEND, "one in a <Location>"),
    ([], 'ProxyPass "/walt-vpn/" "!"\nProxyPass "/" "@OTHER@/"', BACKEND, "one that leaves our prefix out"),
    (["alias"], 'Alias "/walt-vpn/" "@DIR@/htdocs/"', PAGE, "our prefix as a folder"),
    (["alias"], 'Alias "/" "@DIR@/htdocs/"', PAGE, "the site as a folder"),
    (["alias"], 'AliasMatch "^/(.*)$" "@DIR@/htdocs/$1"', PAGE, "the site as a folder, by pattern"),
    (["alias"], 'ScriptAliasMatch "^/walt-vpn/(.*)$" "@DIR@/htdocs/$1"', PAGE, "our prefix as programs"),
    (["alias"], 'Redirect permanent "/" "https://entrypoint.example.org/"', HTTPS, "the usual way to https"),
    (["alias"], 'Redirect 410 "/walt-vpn/"', PAGE, "our prefix as gone"),
    (["alias"], 'RedirectMatch permanent "^/(.*)$" "https://entrypoint.example.org/$1"', HTTPS, "by pattern"),
    (["alias"], '<Location "/">\nRedirect permanent "https://entrypoint.example.org/page"\n</Location>', HTTPS,
     "Redirect inside a <Location> acts in fixups"),
    (["alias"], '<Location "/walt-vpn/">\nRedirect permanent "https://elsewhere.example.org/"\n</Location>', PAGE,
     "and in the <Location> of our own prefix"),
    (["alias"], '<If "%{HTTPS} != \'on\'">\nRedirect permanent "/" "https://entrypoint.example.org/"\n</If>', HTTPS,
     "Redirect inside an <If>"),
    (["rewrite"], REWRITE_TO_HTTPS, HTTPS, "the usual RewriteRule to https"),
    (["rewrite"], '<Location "/">\n%s\n</Location>' % REWRITE_TO_HTTPS, HTTPS, "inside a <Location> it acts in fixups"),
    (["rewrite"], '<LocationMatch "^/">\n%s\n</LocationMatch>' % REWRITE_TO_HTTPS, HTTPS, "or a <LocationMatch>"),
    (["rewrite"], '<If "true">\n%s\n</If>' % REWRITE_TO_HTTPS, HTTPS, "or an <If>"),
    (["rewrite"], '<Directory "/">\n%s\n</Directory>' % REWRITE_TO_HTTPS, HTTPS, "or a <Directory>"),
    (["rewrite"], 'RewriteEngine On\nRewriteRule "^/(.*)$" "@OTHER@/$1" [P]', BACKEND, "a proxy by RewriteRule"),
    (["rewrite"], 'RewriteEngine On\nRewriteRule "^/walt-vpn/" "-" [F]', PAGE, "our prefix forbidden by RewriteRule"),
    (["rewrite"], 'RewriteEngine On\nRewriteRule "!^/page$" "/page" [PT]', PAGE, "everything is one page"),
    (["dir"], "FallbackResource /page", ("/none", 200, "Content-Length", "11"), "everything else is one page"),
    (["vhost_alias"], 'VirtualDocumentRoot "@DIR@/htdocs"', PAGE, "folders by host name"),
    (["userdir"], "UserDir public_html", PAGE, "folders of users"),
    (["mime"], "AddHandler default-handler .sig .img\nAddType text/x .sig .img\nAddEncoding x-gzip .img", PAGE,
     "handlers and codings by file name"),
    (["headers", "setenvif"], "Header always set Strict-Transport-Security max-age=1\nSetEnvIf Host . proxy-nokeepalive", PAGE,
     "headers for the whole site"),
    ([], '<Location "/">\nSetHandler default-handler\n</Location>', PAGE, "a handler for the whole site"),
    ([], "ProxyRequests On", PAGE, "a forward proxy"),
]


@pytest.mark.parametrize("modules, lines, other, why", SITES, ids=[site[3] for site in SITES])
def test_site(modules, lines, other, why, entrypoint, walt, another_walt, node, folder):
    """A node boots and the setup check gets its answer; another request gets what the site has for it."""
    ours = entrypoint(vhost=lines.replace("@OTHER@", another_walt.url), modules=modules + ["proxy", "proxy_http", "walt_vpn"],
                      server="TypesConfig /dev/null" if "mime" in modules else "", cache=folder + "/images")
    ours.tolerate_log("it passes requests below /walt-vpn/ on")
    with open(os.path.join(ours.folder, "htdocs", "page"), "w") as page:
        page.write("the page.\n\n")
    target, status, header, value = other

    assert ours.get("/walt-vpn/server").body == b"walt.example.org\n"
    assert str(node(ours).boot()).startswith("node 192.168.152.7: booted")
    assert ours.get("/walt-vpn/nothing?x=1").status == 404
    assert {request.target for request in walt.requests()} == {
        "/walt-vpn/server", "/walt-vpn/nothing?x=1", "/walt-vpn/per-ip/192-168-152-7/boot.sig",
        "/walt-vpn/per-ip/192-168-152-7/boot.img"}
    assert another_walt.requests() == []

    reply = ours.get(target)
    assert reply.status == status
    if value is not None:
        assert reply.header(header) == value
    if other is BACKEND:
        assert [request.target for request in another_walt.requests()] == [target]


def test_https_by_mod_md(entrypoint, walt, node):
    """MDRequireHttps redirects before anything can be claimed; other pages it still does."""
    ours = entrypoint(modules=["ssl", "md", "proxy", "proxy_http", "walt_vpn"],
                      server="MDomain entrypoint.example.org\nMDRequireHttps permanent\nMDRenewMode manual\n"
                      "MDStoreDir @DIR@/md\nMDCertificateAuthority https://localhost/")
    ours.tolerate_log("md:warn|ssl:warn")
    assert ours.get("/walt-vpn/server").body == b"walt.example.org\n"
    assert node(ours).boot().booted
    reply = ours.get("/page")
    assert reply.status == 301 and reply.header("Location") == "https://entrypoint.example.org/page"


def test_absolute_form_through_a_forward_proxy(entrypoint, walt, another_walt, node):
    """With ProxyRequests On a target in absolute form is for the forward proxy, unless it is the entrypoint's."""
    ours = entrypoint(vhost="ProxyRequests On")
    assert ours.get("http://entrypoint.example.org/walt-vpn/server").body == b"walt.example.org\n"
    assert len(walt.requests()) == 1
    assert ours.get(another_walt.url + "/walt-vpn/server").status == 200
    assert len(another_walt.requests()) == 1 and len(walt.requests()) == 1


def test_an_entrypoint_behind_an_error_page(entrypoint, walt):
    """A site's own error page is not looked for at the WalT server, even if it lies below /walt-vpn/."""
    ours = entrypoint(vhost='ErrorDocument 404 "/walt-vpn/server"')
    assert ours.get("/none").status == 404
    assert walt.requests() == []


def test_a_cache_for_the_whole_site(entrypoint, walt, folder):
    """mod_cache keeps nothing of what must be asked anew each time."""
    os.mkdir(folder + "/cache")
    os.chmod(folder + "/cache", 0o777)
    ours = entrypoint(vhost="CacheEnable disk /\nCacheRoot %s/cache\nCacheDefaultExpire 3600\nCacheIgnoreNoLastMod On" % folder,
                      modules=["cache", "cache_disk", "proxy", "proxy_http", "walt_vpn"])
    for count in (1, 2):
        assert ours.get("/walt-vpn/server").status == 200
        assert len(walt.requests()) == count


@pytest.mark.parametrize("prefix", ["http://entrypoint.example.org/", "HTTP://entrypoint.example.org:80/"])
def test_access_rules_where_there_is_a_forward_proxy(entrypoint, walt, prefix):
    """ProxyRequests On: mod_proxy would keep the absolute target as the URI, which no <Location> matches."""
    site = 'ProxyRequests On\n<Location "/walt-vpn/">\nRequire all %s\n</Location>'
    raw = wire.request(prefix + "w%61lt-vpn/server", "entrypoint.example.org")
    closed = entrypoint(vhost=site % "denied")
    closed.expect_log("AH01630: client denied by server configuration")
    assert closed.get(raw=raw).status == 403
    assert walt.requests() == []
    assert entrypoint(vhost=site % "granted").get(raw=raw).status == 200


def test_access_rules_of_the_site(entrypoint, walt, node):
    """<Location> Require keeps its meaning, for what is relayed and for what is asked on a node's behalf."""
    closed = entrypoint(vhost='<Location "/walt-vpn/">\nRequire all denied\n</Location>')
    closed.expect_log("AH01630: client denied by server configuration")
    for target in ("server", "per-ip/192-168-152-7/boot.sig", "per-ip/192-168-152-7/boot.img", "node-conf/x"):
        assert closed.get("/walt-vpn/" + target).status == 403
    assert walt.requests() == []

    half = entrypoint(vhost='<Location "/walt-vpn/node-conf/">\nRequire all denied\n</Location>',
                      modules=["authz_host", "proxy", "proxy_http", "walt_vpn"])
    half.expect_log("AH01630")
    assert half.get("/walt-vpn/node-conf/x").status == 403
    assert node(half).boot().booted

    here = entrypoint(vhost='<Location "/walt-vpn/">\nRequire ip 127.0.0.0/8\n</Location>',
                      modules=["authz_host", "proxy", "proxy_http", "walt_vpn"])
    assert node(here).boot().booted


def test_a_password_for_the_site(entrypoint, walt, folder):
    """<Location> with basic authentication: asked for, and enough."""
    with open(folder + "/users", "w") as users:
        users.write("walt:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")     # "password"
    os.chmod(folder + "/users", 0o644)
    ours = entrypoint(vhost='<Location "/walt-vpn/">\nAuthType Basic\nAuthName x\nAuthUserFile %s/users\n'
                            "Require valid-user\n</Location>" % folder,
                      modules=["auth_basic", "authn_core", "authn_file", "authz_user", "proxy", "proxy_http", "walt_vpn"])
    assert ours.get("/walt-vpn/server").status == 401
    assert walt.requests() == []
    given = [("Authorization", "Basic d2FsdDpwYXNzd29yZA==")]
    assert ours.get("/walt-vpn/server", headers=given).status == 200
    assert ours.get("/walt-vpn/per-ip/192-168-152-7/boot.sig", headers=given).status == 200


def test_the_site_decides_what_reaches_other_hosts(entrypoint, walt, another_walt):
    """A site-wide proxy keeps even /walt-vpn/ of hosts that are not the entrypoint's."""
    ours = entrypoint(vhost='ProxyPass "/" "%s/"' % another_walt.url)
    raw = wire.request("/walt-vpn/server", "elsewhere.example.org")
    assert ours.get(raw=raw).status == 200
    assert len(another_walt.requests()) == 1 and walt.requests() == []
