#!/bin/sh
# usage: inside.sh STEP
# One step of test/fresh/run.sh, as root in a minimal system. Lines that begin with "fresh:" go into the table.
set -eu

cd /root/project

fail() {
    echo "FAILED: $*"
    exit 1
}

# Wait for a command to succeed, as long as the process lives.
await() {
    process=$1
    shift
    until "$@"; do
        kill -0 "$process" 2>/dev/null || fail "it ended"
        sleep 0.2
    done
}

purge_leaves() {
    find /etc/apache2 /var/lib/apache2 /var/cache/apache2 /usr/lib/apache2 -name '*walt[-_]*'
    ! dpkg-query -W libapache2-mod-walt-vpn 2>/dev/null
}

case $1 in

# The README's first command, with what it says must be there before; its check; Ctrl-C, which leaves nothing behind.
make-run)
    echo "fresh: debian: $(cat /etc/debian_version)"
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends make
    port=$(shuf -i 10000-32767 -n 1)
    env --default-signal=INT setsid make run PORT="$port" >/root/run.log 2>&1 &
    run=$!
    await $run grep -q 'booted' /root/run.log
    answer=$(curl -sS "http://localhost:$port/walt-vpn/server")
    kill -INT -$run
    wait $run || :
    cat /root/run.log
    [ "$answer" = walt.example.org ] || fail "curl got: $answer"
    ! grep -la -e apache2 -e python3 /proc/[0-9]*/cmdline || fail "it left processes behind"
    [ -z "$(ls /tmp)" ] || fail "it left files behind: $(ls /tmp)"
    ;;

# The second command; and a build in which every warning is an error.
make-test)
    { make test && : >/root/passed; } 2>&1 | tee /root/test.log
    [ -e /root/passed ] || fail "make test"
    make clean
    make CFLAGS='-g -O2 -Werror' CPPFLAGS=-D_FORTIFY_SOURCE=2
    echo "fresh: httpd: $(/usr/sbin/apache2 -v | sed -n 's|.*Apache/\([0-9.]*\).*|\1|p')"
    echo "fresh: gcc: $(gcc -dumpfullversion)"
    ;;

install-tools)
    test/install build run test deb
    ;;

make-deb)
    make deb
    # Of the loader, which trixie's libc6 diverts, dpkg-shlibdeps says so.
    ! grep 'warning:' build/deb/build.log | grep -v 'diversions involved' || fail "warnings"
    ;;

# What "apt install ./x.deb" brings is all there is, but for what the test itself stands on.
install-package)
    apt-get -qq update
    apt-get install -y /root/debs/libapache2-mod-walt-vpn_*.deb
    apt-get install -y --no-install-recommends curl openssl python3-bottle python3-gevent
    ;;

use-package)
    debian/tests/boots-a-node

    echo "== installed over itself, as in an upgrade: it stays as it is"
    touch /var/cache/apache2/walt_vpn/kept
    dpkg -i /root/debs/libapache2-mod-walt-vpn_*.deb
    a2query -m walt_vpn
    [ -e /var/cache/apache2/walt_vpn/kept ] || fail "the cache was emptied"
    [ "$(stat -c '%U %a' /var/cache/apache2/walt_vpn)" = 'www-data 700' ] || fail "the folder's owner changed"
    a2dismod -q walt_vpn
    dpkg -i /root/debs/libapache2-mod-walt-vpn_*.deb
    ! a2query -m walt_vpn || fail "an upgrade enabled what the administrator had disabled"
    a2enmod -q walt_vpn

    echo "== upgraded where httpd runs as another user: the cache stays that user's"
    chown -R daemon /var/cache/apache2/walt_vpn
    dpkg -i /root/debs/libapache2-mod-walt-vpn_*.deb
    [ "$(stat -c '%U %a' /var/cache/apache2/walt_vpn)" = 'daemon 700' ] || fail "the folder's owner changed"
    chown -R www-data /var/cache/apache2/walt_vpn

    echo "== removed with its example site in use: apache2 goes on without it; installed again: both are back"
    a2ensite -q walt-entry
    apache2ctl configtest
    dpkg -r libapache2-mod-walt-vpn
    apache2ctl configtest
    ! a2query -m walt_vpn || fail "removed, and still enabled"
    dpkg -i /root/debs/libapache2-mod-walt-vpn_*.deb
    a2query -m walt_vpn
    a2query -s walt-entry
    apache2ctl configtest

    echo "== removed, its example site deleted, installed again: the site stays deleted"
    dpkg -r libapache2-mod-walt-vpn
    rm /etc/apache2/sites-available/walt-entry.conf
    dpkg -i /root/debs/libapache2-mod-walt-vpn_*.deb
    apache2ctl configtest

    echo "== purged: nothing is left"
    dpkg -P libapache2-mod-walt-vpn
    apache2ctl configtest
    [ -z "$(purge_leaves)" ] || fail "$(purge_leaves)"

    echo "== purged with a disk of its own for the images: the disk stays, empty"
    dpkg -i /root/debs/libapache2-mod-walt-vpn_*.deb
    mount -t tmpfs images /var/cache/apache2/walt_vpn
    touch /var/cache/apache2/walt_vpn/0.img
    dpkg -P libapache2-mod-walt-vpn
    [ -z "$(ls /var/cache/apache2/walt_vpn)" ] || fail "images are left"
    umount /var/cache/apache2/walt_vpn
    rmdir /var/cache/apache2/walt_vpn
    [ -z "$(purge_leaves)" ] || fail "$(purge_leaves)"
    apache2ctl stop
    ;;

*)
    fail "no step $1"
    ;;
esac
