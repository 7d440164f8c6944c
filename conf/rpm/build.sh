#!/bin/sh
# usage: conf/rpm/build.sh [FOLDER]
# Builds source and binary RPM of the project as it stands, committed or not, in FOLDER (build/rpm), and says where they are.
# On Debian ("make rpm" installs rpmbuild) the module is built with Debian's httpd headers: that tries the spec file and the layout.
# A package for others to install is built where it is to be installed, from the same source RPM.
set -eu

project=$(cd "$(dirname "$0")/../.." && pwd)
out=$(realpath -m "${1:-$project/build/rpm}")
cd "$project"
spec=conf/rpm/mod_walt_vpn.spec
version=$(sed -n 's/^Version: *//p' $spec)

rm -rf "$out"
mkdir -p "$out/SOURCES"
debian/export "$out/mod_walt_vpn-$version"
tar -C "$out" -czf "$out/SOURCES/mod_walt_vpn-$version.tar.gz" "mod_walt_vpn-$version"
rm -rf "$out/mod_walt_vpn-$version"

# Debian's own packages are none that rpmbuild knows of, and debugedit, for a package of debugging symbols, may be missing.
set -- --define "_topdir $out"
! [ -e /etc/debian_version ] || set -- "$@" --nodeps --define 'debug_package %{nil}'
rpmbuild -ba "$@" $spec >"$out/build.log" 2>&1 || {
    cat "$out/build.log"
    exit 1
}
rm -rf "$out/BUILD" "$out/BUILDROOT"
find "$out" -name '*.rpm' | sort
