#!/bin/sh
# usage: test/fresh/run.sh [SUITE...]
# What a newcomer does with a clone of this project, done on minimal Debian systems that know nothing of it: the README's
# two commands, and the package's build, installation and removal. Prints a table; the logs are in build/fresh.
# Needs root, and the Debian mirrors of this machine's apt. Default: bookworm trixie sid bullseye.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

# Everything that is mounted is mounted in a namespace of our own: when it ends, however that comes, nothing is left that
# the rm below could walk into.
if [ "${FRESH_WORK:-}" = "" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "This makes systems of their own to try the project on: type \"sudo make fresh\"" >&2
        exit 1
    fi
    FRESH_WORK=$(mktemp -d)
    export FRESH_WORK
    trap 'trap "" HUP INT TERM; rm -rf --one-file-system "$FRESH_WORK"' EXIT
    trap 'exit 1' HUP INT TERM
    chmod 755 "$FRESH_WORK"
    rc=0
    unshare --mount --propagation private -- "$0" "$@" || rc=$?
    exit $rc
fi

work=$FRESH_WORK
logs=$project/build/fresh
mkdir -p "$logs"

# ---------------------------------------------------------------- apt sources

# Debian's archives that this machine's apt uses: label and address.
mirrors() {
    # shellcheck disable=SC2016 # apt's variables, not the shell's
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" { print $2, $3 }' | sort -u
}

# Do all packages that it takes come from these sources?  An archive that is being closed lists some that are
# gone.  What is downloaded here is used later.
deliver() {
    set -- -qq -o Dir::Etc::sourcelist="$1" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" \
        -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" -o Dir::Cache::archives="$work/archives" \
        -o APT::Sandbox::User=root
    # shellcheck disable=SC2046 # the names are words of their own
    apt-get "$@" -o APT::Update::Error-Mode=any update &&
        apt-get "$@" -y --no-install-recommends --download-only install apache2 $(awk '$1 ~ /^(build|run|test|compare|deb)$/ { print $2 }' "$here/../packages")
}

# Write the sources of a suite: its own, and updates and security as far as the mirrors have them.  A mirror that is not
# kept up to date is as good here.
sources() {
    : >"$2"
    mirrors | sed -n "s|^Debian \(.*\)|deb [check-valid-until=no] \1 $1 main|p
                      s|^Debian \(.*\)|deb [check-valid-until=no] \1 $1-updates main|p
                      s|^Debian-Security \(.*\)|deb [check-valid-until=no] \1 $1-security main|p" >"$2.candidates"
    rm -rf "$work/lists" "$work/cache" "$work/archives"
    mkdir -p "$work/lists/partial" "$work/cache" "$work/archives/partial"
    : >"$work/status"         # nothing is installed
    while read -r line; do
        { cat "$2"; echo "$line"; } >"$2.try"
        echo "== $line"
        if deliver "$2.try" </dev/null; then
            mv "$2.try" "$2"
        fi
    done <"$2.candidates" >"$logs/$1-0-sources.log" 2>&1
    [ -s "$2" ]
}

# ---------------------------------------------------------------- systems

# A new system named $1: a writable layer over the minimal one, with a clone of the project in /root/project.
make_system() {
    mkdir -p "$work/$1" "$work/$1.new" "$work/$1.work"
    mount -t overlay overlay -o "lowerdir=$work/base,upperdir=$work/$1.new,workdir=$work/$1.work" "$work/$1"
    root=$work/$1
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for device in null zero full random urandom tty; do
        : >"$root/dev/$device"
        mount --bind /dev/$device "$root/dev/$device"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    mount --bind "$work/archives" "$root/var/cache/apt/archives"
    git clone -q --no-local "$project" "$root/root/project"
    cp "$here/inside.sh" "$root/root/inside.sh"
}

# inside SYSTEM online|offline STEP...: a step of inside.sh, in namespaces of its own; no process outlives it.  Offline
# there is a loopback interface only, on which port 80 is free.
inside() {
    root=$work/$1
    net=
    [ "$2" = online ] || net=--net
    shift 2
    # shellcheck disable=SC2016,SC2086 # $net: no word, or one
    unshare --pid --ipc --uts $net --fork --kill-child -- sh -c '
        hostname fresh
        [ "$1" = "" ] || ip link set lo up
        root=$2
        shift 2
        mount -t proc proc "$root/proc"
        exec env -i HOME=/root LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            chroot "$root" sh /root/inside.sh "$@"' sh "$net" "$root" "$@" </dev/null
}

drop_system() {
    umount -R "$work/$1" && rm -rf --one-file-system "${work:?}/$1" "$work/$1.new" "$work/$1.work"
}

# Run a step and log it. Prints nothing; "failed" is set if it does.
step() {
    log=$logs/$suite-$4.log
    echo "$suite: $3 ($log)" >&2
    set -- "$1" "$2" "$3"
    if ! inside "$1" "$2" "$3" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        failed=1
        return 1
    fi
}

# ---------------------------------------------------------------- the table

# What inside.sh said of this kind, in the last log that does.
said() {
    cat "$logs/$suite"-*.log | sed -n "s/^fresh: $1: //p" | tail -n 1
}

try_suite() {
    rm -f "$logs/$suite"-*.log
    echo "$suite: what the mirrors have of it" >&2
    if ! sources "$suite" "$work/sources.list"; then
        echo "| $suite | the mirror has not all of it | | | | | $(date +%F) |" >>"$logs/table"
        return
    fi
    echo "$suite: a minimal system" >&2
    rm -rf --one-file-system "$work/base"
    if ! mmdebstrap --quiet --variant=minbase --mode=root "$suite" "$work/base" "$work/sources.list" \
        >"$logs/$suite-0-system.log" 2>&1; then
        tail -n 30 "$logs/$suite-0-system.log" >&2
        failed=1
        return
    fi

    run=fails; tests=fails; package=fails
    make_system commands
    ! step commands online make-run 1-make-run || run=works
    ! step commands online make-test 2-make-test || tests=works
    drop_system commands

    make_system build
    if step build online install-tools 3-install-tools && step build offline make-deb 4-make-deb; then
        make_system install
        mkdir "$work/install/root/debs"
        cp "$work/build/root/project/build/deb/"*.deb "$work/install/root/debs/"
        ! { step install online install-package 5-install-package && step install offline use-package 6-use-package; } ||
            package=works
        drop_system install
    fi
    drop_system build
    echo "| $suite ($(said debian)) | $(said httpd) | $(said gcc) | $run | $tests | $package | $(date +%F) |" >>"$logs/table"
}

[ -n "$(mirrors)" ] || apt-get update -qq
if [ -n "$(git -C "$project" status --porcelain --untracked-files=no)" ]; then
    echo "What is not committed is not tried." >&2
fi
failed=
cat >"$logs/table" <<T
| Debian | httpd | gcc | make run | make test | package | date |
|---|---|---|---|---|---|---|
T
[ $# -gt 0 ] || set -- bookworm trixie sid bullseye
for suite in "$@"; do
    try_suite
done
cat "$logs/table"
[ -z "$failed" ]
