"""Plain make builds the module with anybody's flags, installs it where asked, exports one symbol, and cleans up."""

import os
import re
import shutil
import subprocess

import pytest

from httpd import PROJECT, apxs

SOURCES = re.compile(r"Makefile|mod_walt_vpn\.c")


def make(place, *arguments, **variables):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CFLAGS", "CPPFLAGS", "LDFLAGS")}
    environment.update(variables)
    return subprocess.run(["make", "-C", str(place), *arguments], env=environment, timeout=120, universal_newlines=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def files(place):
    return sorted(os.path.relpath(os.path.join(folder, name), str(place))
                  for folder, _, names in os.walk(str(place)) for name in names)


@pytest.fixture
def copy(tmp_path):
    """The sources alone, as in a fresh clone."""
    if not shutil.which("make") or not apxs("INCLUDEDIR"):
        pytest.skip("needs make and apxs")
    place = tmp_path / "clone"
    place.mkdir()
    for name in filter(SOURCES.fullmatch, os.listdir(PROJECT)):
        shutil.copy(os.path.join(PROJECT, name), str(place))
    for name in ("check", "conf", "src"):
        shutil.copytree(os.path.join(PROJECT, name), str(place / name), ignore=shutil.ignore_patterns("__pycache__", "*.o"))
    return place


@pytest.mark.thorough
def test_everything_from_outside_reaches_compiler_and_linker(copy, tmp_path):
    """As dpkg-buildflags gives it, in the environment; a warning is an error; then install and clean."""
    pristine = files(copy)
    built = make(copy, "-j2", CFLAGS="-g -O1 -Werror -fstack-protector-strong -DFROM_CFLAGS=1",
                 CPPFLAGS="-DFROM_CPPFLAGS=1 -D_FORTIFY_SOURCE=2", LDFLAGS="-Wl,-z,relro -Wl,-z,now -Wl,--build-id=0xabcdef01")
    assert built.returncode == 0, built.stdout
    assert "warning" not in built.stdout
    compiled = [line for line in built.stdout.splitlines() if " -c -o " in line]
    linked = [line for line in built.stdout.splitlines() if "-shared" in line]
    assert len(compiled) == len([name for name in pristine if name.endswith(".c")]) and len(linked) == 1
    for line in compiled:
        for flag in ("-O1", "-Werror", "-fstack-protector-strong", "-DFROM_CFLAGS=1", "-DFROM_CPPFLAGS=1", "-Wall", "-Wextra",
                     "-std=c11", "-fPIC"):
            assert flag in line.split(), flag
    for flag in ("-Wl,-z,relro", "-Wl,-z,now", "-Wl,--build-id=0xabcdef01", "-O1"):
        assert flag in linked[0].split(), flag
    with open(str(copy / "mod_walt_vpn.so"), "rb") as module:
        assert bytes.fromhex("abcdef01") in module.read()

    symbols = subprocess.run(["nm", "-D", "--defined-only", str(copy / "mod_walt_vpn.so")], stdout=subprocess.PIPE,
                             universal_newlines=True, check=True).stdout
    assert [line.split()[-1] for line in symbols.splitlines()] == ["walt_vpn_module"]

    assert make(copy, "install", "DESTDIR=%s" % (tmp_path / "root")).returncode == 0
    installed = str(tmp_path / "root") + apxs("LIBEXECDIR") + "/mod_walt_vpn.so"
    assert os.path.exists(installed) and os.stat(installed).st_mode & 0o777 == 0o644
    others = ["bin/walt-vpn-check", "share/man/man1/walt-vpn-check.1", "share/man/man5/mod_walt_vpn.5",
              "share/man/man5/walt_vpn.5"] + ["share/walt-vpn/" + name for name in files(copy / "check") if not name.endswith(".1")]
    assert set(files(tmp_path / "root")) == {os.path.relpath(installed, str(tmp_path / "root"))} | {
        "usr/local/" + name for name in others}

    assert make(copy, "clean").returncode == 0
    assert files(copy) == pristine


def test_another_apxs(copy, tmp_path):
    """Its folders are used, and nothing else's."""
    (tmp_path / "apxs").write_text("#!/bin/sh\ncase $2 in LIBEXECDIR) echo /opt/httpd/modules;; *) exec %s \"$@\";; esac\n"
                                   % (os.environ.get("APXS") or shutil.which("apxs") or shutil.which("apxs2")))
    (tmp_path / "apxs").chmod(0o755)
    shown = make(copy, "-n", "install", "APXS=%s" % (tmp_path / "apxs"), "DESTDIR=/tmp/root")
    assert "/tmp/root/opt/httpd/modules/mod_walt_vpn.so" in shown.stdout


def test_a_machine_without_apxs(copy):
    """It says so, and does not compile without headers."""
    built = make(copy, "APXS=/nowhere/apxs")
    assert built.returncode != 0
    assert 'no answer from "/nowhere/apxs -q INCLUDEDIR": install httpd' in built.stdout and "-c -o" not in built.stdout
