"""Four ways to be a VPN HTTP entrypoint: this module, and the three configurations that WalT documents.

Each is an ordinary private instance of what Debian packages, with Debian's own settings around the documented lines, and
all have .port, .server_name, .start() and .stop().
"""

import os
import shutil
import subprocess

import processes
from httpd import ENTRYPOINT, Httpd


HTTPD_TO_HTTPS = "RewriteEngine On\nRewriteCond %{HTTPS} !=on\nRewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [L,R=301]"


def hasty(location, timeout=2, more="disablereuse=on retry=0"):
    """Lines for an entrypoint that soon gives up a WalT server which is silent; the worker that our module makes waits 20 s.
    location: what WaltVpnServer says; timeout: in seconds."""
    return '<Proxy "http://%s/walt-vpn/">\nProxySet timeout=%d %s\n</Proxy>' % (location, timeout, more)


class WaltVpn(Httpd):
    """This module. cache: a folder for WaltVpnCacheRoot ("": boot.img is relayed)."""

    title = "mod_walt_vpn"

    def __init__(self, folder, walt, vhost="", server="", cache="", https=False, **options):
        if cache:
            server = "WaltVpnCacheRoot %s\n%s" % (cache, server)
        if https:
            vhost += "\n" + HTTPD_TO_HTTPS
            options["modules"] = ("rewrite",) + tuple(options.get("modules", ENTRYPOINT))
        super().__init__(folder, "WaltVpnServer %s\n%s" % (walt.location, vhost), server, **options)

    @property
    def location(self):
        """host:port, as the WaltVpnServer of an entrypoint in front of this one."""
        return "%s:%d" % (self.server_name, self.port)


class ProxyPass(Httpd):
    """The documented httpd site."""

    title = "httpd ProxyPass"

    def __init__(self, folder, walt, https=False, **options):
        lines, modules = 'ProxyPass "/walt-vpn/" "%s/walt-vpn/"' % walt.url, ("proxy", "proxy_http")
        if https:
            lines, modules = lines + "\n" + HTTPD_TO_HTTPS, ("rewrite",) + modules
        super().__init__(folder, lines, modules=modules, **options)


class Instance(processes.Server):
    """A proxy that is not httpd: a configuration file, and the command that reads it."""

    server_name = Httpd.server_name

    to_https = ""

    def __init__(self, folder, walt, server_name=None, https=False):
        super().__init__(folder)
        self.walt = walt
        self.https = https
        self.server_name = server_name or self.server_name

    def command(self):
        path = os.path.join(self.folder, "proxy.conf")
        with open(path, "w") as conf:
            conf.write(self.configuration())
        return self.reading(path)


def program(name):
    found = shutil.which(name, path="/usr/sbin:" + os.environ["PATH"])
    if not found:
        raise FileNotFoundError("%s is not installed" % name)
    return found


class Nginx(Instance):
    """The documented NGINX site."""

    title = "NGINX"
    to_https = "return 301 https://$host$request_uri;"

    def reading(self, path):
        nginx = program("nginx")
        usage = subprocess.run([nginx, "-h"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True).stdout
        early_log = ["-e", os.path.join(self.folder, "error.log")] if "-e filename" in usage else []    # since 1.19.5
        return [nginx, "-p", self.folder, "-c", path] + early_log

    def configuration(self):
        return """\
daemon off;
%(user)s
worker_processes auto;
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log;
events { worker_connections 768; }
http {
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    gzip on;
    access_log %(folder)s/access.log;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
    server {
        listen      127.0.0.1:%(port)d;
        server_name %(name)s;
        %(https)s

        location ^~ /walt-vpn/ {
            proxy_pass  %(walt)s/walt-vpn/;
        }
    }
}
""" % {"user": "user www-data;" if os.getuid() == 0 else "", "folder": self.folder, "port": self.port,
            "name": self.server_name, "walt": self.walt.url, "https": self.to_https if self.https else ""}


class Haproxy(Instance):
    """The documented HAProxy frontend and backend."""

    title = "HAProxy"
    to_https = "http-request redirect scheme https code 301 unless { ssl_fc }"

    def reading(self, path):
        return [program("haproxy"), "-db", "-f", path]

    def configuration(self):
        return """\
global
    %(user)s
defaults
    mode http
    timeout connect 5000
    timeout client 50000
    timeout server 50000

frontend walt-vpn-frontend
  bind 127.0.0.1:%(port)d
  %(https)s
  acl vpn-host hdr(host) %(name)s
  acl vpn-path path_beg /walt-vpn/
  use_backend walt-vpn-backend if vpn-host vpn-path

backend walt-vpn-backend
  server walt-server %(walt)s
""" % {"user": "user haproxy\n    group haproxy" if os.getuid() == 0 else "", "port": self.port,
            "name": self.server_name, "walt": self.walt.location, "https": self.to_https if self.https else ""}


SEED = (Nginx, Haproxy, ProxyPass)
