#!/bin/sh
# usage: debian/build.sh
# Builds source and binary package of what is in this folder, committed or not, in build/deb, and says where they are.
# "make deb" installs what it needs first.
set -eu

cd "$(dirname "$0")/.."
out=$PWD/build/deb
version=$(dpkg-parsechangelog -S Version)
tree=$out/mod-walt-vpn-$version

# The files of the project, without what was built from them.
files() {
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -type f -print0
    fi
}

rm -rf "$out"
mkdir -p "$tree"
files | perl -0lne 'print if -e' | tar --null -cf - -T - | tar -C "$tree" -xf -

# The log is for "blhc --all --debian", which looks for missing hardening flags in it.
(cd "$tree" && exec </dev/null && dpkg-buildpackage -us -uc) >"$out/build.log" 2>&1 || {
    cat "$out/build.log"
    exit 1
}
rm -rf "$tree"
ls "$out"/*.changes "$out"/*.dsc "$out"/libapache2-mod-walt-vpn_*.deb
echo "To install it: apt install $(echo "$out"/libapache2-mod-walt-vpn_*.deb)"
