"""walt-vpn-check finds the entrypoints of this machine through httpd, whatever way its configuration is written in."""

import os
import re
import shutil
import subprocess

import pytest

from httpd import PROJECT, our_module

COMMAND = os.path.join(PROJECT, "check", "walt-vpn-check")


def titles(text):
    """{the name of each entrypoint that it tells: (its WalT server, the line where that is said)}."""
    found = re.findall(r"(?m)^(\S+), entrypoint of (\S+) \((.*):(\d+)\)$", text)
    return {name: (walt_server, int(line)) for name, walt_server, _, line in found}


WAYS = {
    "a variable": ("Define LAB 127.0.0.1:9\n", "ServerName a.test\nWaltVpnServer ${LAB}"),
    "quoted and continued": ("", 'ServerName \\\n "a.test"\nwaltvpnserver "127.0.0.1:9"'),
    "in the other quotes": (
        "", "ServerName 'a.test'\nServerAlias 'b.test' \"c.test\"\nWaltVpnServer '127.0.0.1:9'\nWaltVpnCacheSize '2M'"),
    "a port and a scheme in the name": ("", "ServerName http://a.test:80\nWaltVpnServer 127.0.0.1:9"),
    "a module that is there": ("", "<IfModule walt_vpn_module>\nServerName a.test\nWaltVpnServer 127.0.0.1:9\n</IfModule>"),
    "beside narrower sections": (
        "", "ServerName a.test\n<Location /x>\n<If \"true\">\nSetEnv x\n</If>\n</Location>\nWaltVpnServer 127.0.0.1:9"),
}


@pytest.mark.parametrize("server, vhost", WAYS.values(), ids=WAYS)
def test_a_way_to_write_it(check, httpd, server, vhost):
    ours = httpd("<VirtualHost *:@PORT@>\n%s\n</VirtualHost>" % vhost, server=server, start=False,
                 modules=("env", "proxy", "proxy_http", "walt_vpn"))
    assert ours.configtest()[0] == 0
    _, text = check(at=ours, names={"a.test": ["127.0.0.1"]})
    assert list(titles(text)) == ["a.test"] and titles(text)["a.test"][0] == "127.0.0.1:9"


@pytest.mark.parametrize("written, folder_is", [("'@/it\\'s one'", "it's one"), ('"@/a \\"b\\" \\\\c"', 'a "b" \\c'),
                                                ('@/"x"', '"x"')])
def test_a_path_in_quotes(check, httpd, folder, written, folder_is):
    """With what a backslash hides from httpd in it."""
    os.chmod(folder, 0o777)
    ours = httpd("ServerName a.test\nWaltVpnServer 127.0.0.1:9\nWaltVpnCacheRoot " + written.replace("@", folder))
    ours.tolerate_log("proxy")
    _, text = check(at=ours, names={"a.test": ["127.0.0.1"]})
    assert "cache folder %s: 0 images" % os.path.join(folder, folder_is) in text
    assert os.path.isdir(os.path.join(folder, folder_is))


def test_files_macros_and_what_is_not_in_force(check, httpd, folder):
    with open(os.path.join(folder, "more.conf"), "w") as file:
        file.write("\n<VirtualHost *:80>\nServerName b.test\nWaltVpnServer 127.0.0.1:9\n</VirtualHost>\n")
    ours = httpd("<Macro Entry $name>\n<VirtualHost *:@PORT@>\nServerName $name\nWaltVpnServer 127.0.0.1:9\n</VirtualHost>\n"
                 "</Macro>\nUse Entry a.test\nInclude %s/*.conf\n<IfDefine Never>\nUse Entry never.test\n</IfDefine>\n"
                 "<VirtualHost *:@PORT@>\nServerName none.test\n</VirtualHost>" % folder, start=False,
                 modules=("macro", "proxy", "proxy_http", "walt_vpn"))
    assert ours.configtest()[0] == 0
    _, text = check(at=ours, names={"a.test": ["127.0.0.1"], "b.test": ["127.0.0.1"]})
    assert set(titles(text)) == {"a.test", "b.test"}
    assert "b.test, entrypoint of 127.0.0.1:9 (%s/more.conf:4)" % folder in text


def test_the_same_site_on_two_ports(check, httpd, walt):
    """As docs/setting-up.md has it with TLS beside: it is one entrypoint, and a node is booted once."""
    site = "<VirtualHost *:%s>\nServerName localhost\nServerAlias %s\nWaltVpnServer %s\n</VirtualHost>\n"
    ours = httpd(site % ("@PORT@", "a.test", walt.location) + site % (443, "b.test", walt.location))
    ours.tolerate_log("httpd does not listen on .*:443 of its <VirtualHost>")
    status, text = check("--node", "192.168.152.7", at=ours, names={name: ["127.0.0.1"] for name in ("a.test", "b.test")})
    assert status == 1 and len(re.findall("entrypoint of", text)) == 1
    assert [request.target for request in walt.requests("boot.sig")] == ["/walt-vpn/per-ip/192-168-152-7/boot.sig"]
    assert re.search("ok +a.test, port", text) and re.search("CRITICAL +b.test, port .*: status 404", text)


def test_the_main_server(check, httpd):
    ours = httpd("<VirtualHost *:@PORT@>\nServerName x.test\n</VirtualHost>", server="WaltVpnServer 127.0.0.1:9", start=False)
    assert ours.configtest()[0] == 0
    assert list(titles(check(at=ours)[1])) == ["localhost"]


def test_a_folder_that_is_inherited_and_one_that_is_not(check, httpd, folder):
    """Relative to ServerRoot, as httpd takes it."""
    sites = ["<VirtualHost *:@PORT@>\nServerName %s.test\nWaltVpnServer 127.0.0.1:9\n%s\n</VirtualHost>" % site for site in (
        ("a", ""), ("b", "WaltVpnCacheRoot none"), ("c", "WaltVpnCacheRoot \"%s/c\"\nWaltVpnCacheSize 2m" % folder))]
    ours = httpd("\n".join(sites), server="WaltVpnCacheRoot images", start=False)
    assert ours.configtest()[0] == 0
    _, text = check(at=ours, names={name + ".test": ["127.0.0.1"] for name in "abc"})
    assert [re.findall("cache folder (?:\\S+/)?(\\S+)|(no cache folder)", part)[0]
            for part in re.split("entrypoint of", text)[1:]] == [("images", ""), ("", "no cache folder"), ("c", "")]


def test_no_entrypoint(check, httpd):
    ours = httpd(start=False)
    ours.configtest()
    status, text = check(at=ours)
    assert status == 1
    assert text.startswith("WALT-VPN CRITICAL: httpd's configuration has no WaltVpnServer: this machine is no entrypoint\n")
    assert "a2ensite walt-entry" in text


def test_a_configuration_that_httpd_refuses(check, httpd):
    ours = httpd("WaltVpnServer http://x/", start=False)
    ours.configtest()
    status, text = check(at=ours)
    assert status == 1
    assert text.splitlines()[0] == "WALT-VPN CRITICAL: httpd refuses its configuration, and would not start with it"
    assert "WaltVpnServer" in text and "http://x/" in text
    assert '-> mend that, and see what "%s -t" says' % " ".join(ours.command()) in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_configuration_that_only_root_may_read(check, httpd, folder, monkeypatch):
    monkeypatch.setenv("MOD_WALT_VPN", shutil.copy(our_module(), folder))
    ours = httpd("WaltVpnServer 127.0.0.1:9", start=False)
    ours.configtest()
    os.chmod(ours.conf, 0o600)
    status, text = check(at=ours, user="nobody")
    assert status == 2
    assert text.splitlines()[0] == "WALT-VPN UNKNOWN: only root may read the configuration of httpd"
    assert "-> type: sudo walt-vpn-check\n" in text


def bare(folder, *arguments, programs=()):
    """walt-vpn-check where there are only these programs; (exit status, what it said)."""
    place = os.path.join(folder, "programs")
    os.mkdir(place)
    for program in programs:
        os.symlink(shutil.which(program, path="/usr/bin:/bin"), os.path.join(place, program))
    done = subprocess.run([COMMAND, *arguments], env={"PATH": place}, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("arguments, status", [((), 2), (("http://walt-entry.test", "--nagios"), 3)], ids=["", "nagios"])
def test_no_python(folder, arguments, status):
    """The package does not depend on it."""
    assert bare(folder, *arguments) == (
        status, 'WALT-VPN UNKNOWN: walt-vpn-check needs Python, which is not here; type "apt install python3"\n')


@pytest.mark.parametrize("arguments, said, remedy", [
    (["--httpd", "no-httpd"], "no-httpd: No such file or directory", "say how httpd is called with --httpd COMMAND"),
    (["--httpd", " "], "there is no httpd here", "name the entrypoint, as in: walt-vpn-check http://walt-entry.example.org"),
    (["--httpd", "httpd -f 'x"], "httpd -f 'x: No closing quotation", "say how httpd is called with --httpd COMMAND"),
    (["--httpd", "true"], "httpd says nothing about its configuration", "say how httpd is called with --httpd COMMAND"),
    (["--modules", "/nowhere"], "mod_info.so, through which httpd tells its configuration, is not found",
     "name the folder of httpd's modules, as in: walt-vpn-check --modules /nowhere")])
def test_no_httpd_that_answers(check, arguments, said, remedy, httpd):
    status, text = check("--httpd", "true", *arguments)
    assert status == 2
    assert text.splitlines()[0] == "WALT-VPN UNKNOWN: " + said and "-> " + remedy in text


def test_called_by_a_link(folder):
    """As the package installs it."""
    link = os.path.join(folder, "walt-vpn-check")
    os.symlink(COMMAND, link)
    done = subprocess.run([link, "--help"], timeout=60, stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0 and "walt-vpn-check" in done.stdout
