#!/bin/sh
# usage: debian/build.sh
# Builds source and binary package of what is in this folder, committed or not, in build/deb, and says where they are.
# "make deb" installs what it needs first.
set -eu

cd "$(dirname "$0")/.."
out=$PWD/build/deb
version=$(dpkg-parsechangelog -S Version)
tree=$out/mod-walt-vpn-$version

rm -rf "$out"
debian/export "$tree"

# Without the tests, what they need may be missing.
case " ${DEB_BUILD_OPTIONS:-} " in
*' nocheck '*) export DEB_BUILD_PROFILES="${DEB_BUILD_PROFILES:-} nocheck" ;;
esac

# The log is for "blhc --all --debian", which looks for missing hardening flags in it.
(cd "$tree" && exec </dev/null && dpkg-buildpackage -us -uc) >"$out/build.log" 2>&1 || {
    cat "$out/build.log"
    exit 1
}
rm -rf "$tree"
ls "$out"/*.changes "$out"/*.dsc "$out"/libapache2-mod-walt-vpn_*.deb
echo "To install it: apt install $(echo "$out"/libapache2-mod-walt-vpn_*.deb)"
