"""Who is measured: this module, the three configurations that WalT documents, and files on disk as the limit.

All are the private instances of the tests, with Debian's settings (httpd.MPM_SETTINGS for the event MPM) in front of the
same WalT server.
"""

import os
import resource
import subprocess

import processes
from httpd import PROJECT, Httpd
from proxies import SEED, Nginx, WaltVpn
from stand_in import RELEASED

BUILT = os.path.join(PROJECT, "build", "bench")

# What Debian's apache2ctl allows httpd.
DESCRIPTORS = 8192


def allow_descriptors():
    """For this process and all that it starts; an ordinary user gets what it may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Images:
    """Files of random bytes, no two alike: what nodes boot."""

    def __init__(self, folder, count, mib):
        self.mib = mib
        self.paths = []
        for number in range(count):
            path = os.path.join(folder, "%d-of-%d-mib" % (number, mib))
            if not os.path.exists(path):
                with open(path, "wb") as file:
                    for _ in range(mib):
                        file.write(os.urandom(1 << 20))
            self.paths.append(path)

    @property
    def options(self):
        return [word for path in self.paths for word in ("--image", path)]


class Program:
    """One of the programs in C that listens on a port. Has what WaltServer has for proxies."""

    def __init__(self, images, name, *options):
        self.images = images
        self.process = processes.spawn([os.path.join(BUILT, name), *map(str, options)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, universal_newlines=True, bufsize=1)
        self.port = int(self.process.stdout.readline().split()[1])
        self.location = "127.0.0.1:%d" % self.port
        self.url = "http://" + self.location

    def mib_sent(self):
        """Since it was asked last."""
        self.process.stdin.write("stats\n")
        return int(self.process.stdout.readline().split()[0]) / (1 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        processes.end(self.process)


class Walt(Program):
    """walt.c, which plays that version of WalT, behind a link of this many bytes a second (0: no limit) that is fair to all."""

    def __init__(self, images, rate=0, version=RELEASED):
        super().__init__(images, "walt", "--version", version, *images.options)
        self.process.stdin.write("rate %d\n" % rate)


class SlowLink(Program):
    """slow_link.c in front of such a server or an entrypoint, with its options: what is behind it can't be seen."""

    def __init__(self, behind, images, **options):
        super().__init__(images, "slow_link", "--to", behind.port,
                         *(word for name, value in options.items() for word in ("--" + name, value)))


class FilesOnDisk(Httpd):
    """The same httpd with the same files in its DocumentRoot, sent with sendfile: what no entrypoint can beat."""

    title = "files on disk"

    def __init__(self, folder, walt, server="", nodes=400, **options):
        super().__init__(folder, "", "EnableSendfile On\n" + server, modules=(), **options)
        root = os.path.join(self.folder, "htdocs", "walt-vpn")
        os.makedirs(os.path.join(root, "per-ip"))
        with open(os.path.join(root, "server"), "w") as file:
            file.write("walt.example.org\n")
        signatures = [self.signature(path) for path in walt.images.paths]
        for number in range(nodes):
            node = os.path.join(root, "per-ip", "10-0-%d-%d" % divmod(number, 256))
            os.mkdir(node)
            os.link(walt.images.paths[number % len(signatures)], os.path.join(node, "boot.img"))
            with open(os.path.join(node, "boot.sig"), "w") as file:
                file.write(signatures[number % len(signatures)])

    @staticmethod
    def signature(path):
        digest = subprocess.run(["sha256sum", path], stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout[:64]
        return "%s\nts: 1790000000\nrsa2048: %s\n" % (digest, "a" * 512)


class Cached(WaltVpn):
    """This module with an empty image folder."""

    def __init__(self, folder, walt, server="", **options):
        super().__init__(folder, walt, server="WaltVpnCacheSize 4G\n" + server, cache=os.path.join(folder, "images"), **options)


class NginxSlice(Nginx):
    """What an expert might write in place of the documented lines: images are cached, and fetched in slices of 1 MiB, so that one
    that broke off is not fetched from its beginning."""

    title = "NGINX, slice and cache"

    def configuration(self):
        text = super().configuration()
        cache = "proxy_cache_path %s/cache keys_zone=walt:1m max_size=4g use_temp_path=off;\n" % self.folder
        lines = """\
        location ~ ^/walt-vpn/per-ip/[^/]+/boot\\.img$ {
            slice               1m;
            proxy_cache         walt;
            proxy_cache_key     $uri$slice_range;
            proxy_cache_valid   200 206 10m;
            proxy_cache_lock    on;
            proxy_cache_lock_age 60s;
            proxy_cache_lock_timeout 60s;
            proxy_set_header    Range $slice_range;
            proxy_http_version  1.1;
            proxy_pass          %s;
        }
""" % self.walt.url
        text = text.replace("    server {\n", "    %s    server {\n" % cache)
        return text.replace("        location ^~ /walt-vpn/ {", lines + "        location /walt-vpn/ {")


NGINX, HAPROXY, PROXY_PASS = SEED
ALL = (Cached, NGINX, HAPROXY, PROXY_PASS, FilesOnDisk)
