"""The directives in src/site/directives.c, the files in conf/ and README.md say the same."""

import os
import re
import shutil
import subprocess

import pytest

from httpd import PROJECT, packaged

DEFAULTS = {        # what the README's table must give as default
    "WaltVpnServer": ["none", "80", "not inherited"],
    "WaltVpnExpose": ["`all`"],
    "WaltVpnCacheRoot": ["none", "relayed"],
    "WaltVpnCacheSize": ["`1G`"],
}


def read(name):
    with open(os.path.join(PROJECT, name)) as file:
        return file.read()


def directives():
    """{name: its description} out of the module's table."""
    table = re.findall(r'AP_INIT_\w+\("(\w+)",[^"]*((?:"[^"]*"\s*)+)\)', read("src/site/directives.c"))
    return {name: "".join(re.findall(r'"([^"]*)"', text)) for name, text in table}


def rows():
    """{directive: its row in the README's table}."""
    return {row.group(1): row.group(0) for row in re.finditer(r"(?m)^\| `(WaltVpn\w+)[ `].*\|$", readme())}


def readme():
    if not os.path.exists(os.path.join(PROJECT, "README.md")):
        pytest.skip("README.md is not in this tree")
    return read("README.md")


def settings(text):
    """[(directive, value)] of configuration text, comments and sections left out."""
    lines = [line.split(None, 1) for line in map(str.strip, text.splitlines())]
    return [tuple(words) for words in lines if len(words) == 2 and words[0][0].isalpha()]


def site(text):
    """The virtual host in a text, each line without its indentation."""
    return [line.strip() for line in re.search(r"(?ms)^[ \t]*<VirtualHost.*?</VirtualHost>", text).group(0).splitlines()]


def test_the_table_is_read():
    """Else the rest of this file would test nothing."""
    assert set(directives()) >= set(DEFAULTS)


def test_every_directive_tells_its_default():
    """In the module's own description, which httpd prints beside a mistake, and in this file."""
    assert set(directives()) == set(DEFAULTS)
    for name in ("WaltVpnExpose", "WaltVpnCacheRoot", "WaltVpnCacheSize"):
        assert "default" in directives()[name], name
    assert "port 80 unless said" in directives()["WaltVpnServer"]


def test_every_directive_is_in_the_readme():
    """One row each, with its default; and none that does not exist."""
    assert set(rows()) == set(directives())
    assert set(re.findall(r"WaltVpn[A-Z]\w+", readme())) <= set(directives())
    for name, words in DEFAULTS.items():
        for word in words:
            assert word in rows()[name], "%s: %s" % (name, word)


def test_the_default_size_is_the_one_in_the_code():
    """1 GiB, in all three places."""
    assert "((apr_off_t)1 << 30)" in read("src/site/directives.c") and "default 1G" in directives()["WaltVpnCacheSize"]


def test_conf_uses_directives_that_exist():
    """A slip there would keep httpd from starting."""
    used = {name for file in os.listdir(os.path.join(PROJECT, "conf")) if file.endswith(".conf")
            for name in re.findall(r"WaltVpn[A-Z]\w+", packaged(file))}
    assert used and used <= set(directives())


def test_the_five_lines_are_the_example_site():
    """What the README shows is what conf/walt-entry.conf holds."""
    shown = site(readme())
    assert len(shown) == 5
    assert shown == site(packaged("walt-entry.conf"))


def test_the_package_sets_the_cache_that_the_readme_names():
    """Folder and size of conf/walt_vpn.conf."""
    for name, value in settings(packaged("walt_vpn.conf")):
        if name == "WaltVpnCacheRoot":
            assert "`%s`" % value in rows()[name]
        if name == "WaltVpnCacheSize":
            assert "`%s`" % value in rows()[name]
    assert {"WaltVpnCacheRoot", "WaltVpnCacheSize"} <= {name for name, _ in settings(packaged("walt_vpn.conf"))}


def systemd_version():
    """"systemd 252 (252.39-1~deb12u1)": 252."""
    return int(subprocess.run(["systemd-tmpfiles", "--version"], stdout=subprocess.PIPE, universal_newlines=True).stdout.split()[1])


def test_systemd_makes_the_folder_where_it_is_missing(folder):
    """That of conf/walt_vpn.conf, for httpd's children alone; one that is there stays as it is."""
    if not shutil.which("systemd-tmpfiles") or systemd_version() < 251:
        pytest.skip("systemd is not installed, or too old")
    os.mkdir(folder + "/etc")
    for name in ("passwd", "group"):
        with open(folder + "/etc/" + name, "w") as file:
            file.write("www-data:x:33:33::/var/www:/bin/sh\n" if name == "passwd" else "www-data:x:33:\n")
    path = folder + dict(settings(packaged("walt_vpn.conf")))["WaltVpnCacheRoot"]
    make = ["systemd-tmpfiles", "--create", "--root", folder, os.path.join(PROJECT, "conf", "tmpfiles", "walt_vpn.conf")]
    subprocess.run(make, check=os.getuid() == 0)
    if os.getuid() == 0:
        state = os.stat(path)
        assert (state.st_uid, state.st_gid, state.st_mode & 0o7777) == (33, 33, 0o700)
        os.chown(path, 1, 1)
        subprocess.run(make, check=True)
        assert os.stat(path).st_uid == 1


def test_load_names_what_the_module_refuses_to_start_without():
    """a2enmod reads the first line; the module says the same when it is missing."""
    lines = packaged("walt_vpn.load").splitlines()
    assert lines[0] == "# Depends: proxy proxy_http"
    assert re.fullmatch(r"LoadModule walt_vpn_module \S+/mod_walt_vpn\.so", lines[1]) and len(lines) == 2
    assert "a2enmod proxy proxy_http" in re.sub(r'"\s*"', "", read("src/site/directives.c"))


def test_every_command_of_the_readme_exists():
    """`make x`, and every file that it names."""
    targets = set(re.findall(r"(?m)^([a-z][\w-]*):", read("Makefile")))
    assert set(re.findall(r"(?m)(?:^\s*|`|&& )make ([a-z][\w-]*)", readme())) <= targets
    for path in re.findall(r"(?<![\w/.-])((?:test|conf|debian)/[\w./-]*\w)", readme()):
        assert os.path.exists(os.path.join(PROJECT, path)), path
    for path in re.findall(r"\]\(([\w./-]+)\)", readme()):
        assert os.path.exists(os.path.join(PROJECT, path)), path


def test_every_make_target_stands_in_the_makefile_s_head():
    """With what it is for; and to make, none of them is a file."""
    makefile = read("Makefile")
    told = set(re.findall(r"(?m)^#   make ([a-z][\w-]*)", makefile)) | {"all"}       # "make" is "make all"
    assert told == set(re.findall(r"(?m)^([a-z][\w-]*):(?!=)", makefile))
    assert told == set(re.search(r"(?m)^\.PHONY: (.*)", makefile).group(1).split())


def test_make_check_runs_one_file_of_tests_where_asked():
    """And all of them otherwise; once, so that each must pass the first time."""
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "TESTS", "PYTEST_FLAGS")}
    for arguments, asked in (([], "test"), (["TESTS=test/test_x.py"], "test/test_x.py")):
        said = subprocess.run(["make", "-C", PROJECT, "-n", "check"] + arguments, stdout=subprocess.PIPE, universal_newlines=True,
                              check=True, env=alone).stdout
        assert re.findall(r"-m pytest .* (test\S*)$", said, re.MULTILINE) == [asked]


def test_the_packaged_files_are_taken_by_httpd(httpd, folder):
    """conf/walt_vpn.conf and the example site, with nothing changed but what only a package can do."""
    os.chmod(folder, 0o777)
    conf = packaged("walt_vpn.conf").replace("/var/cache/apache2/walt_vpn", folder + "/images")
    entry = packaged("walt-entry.conf").replace("*:80", "*:@PORT@")
    ours = httpd(entry, server=conf)
    ours.tolerate_log("WaltVpnServer walt.lab.example.org .*: this machine's resolver ")
    assert "walt-entry.example.org is the WalT VPN HTTP entrypoint of http://walt.lab.example.org/walt-vpn/" in ours.error_log

