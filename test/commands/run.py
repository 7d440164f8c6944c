#!/usr/bin/python3
"""An entrypoint to try: "make run". Stays in the foreground until Ctrl-C, and leaves nothing behind."""

import argparse
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))

from boot_client import BootClient
from httpd import NODE_TROUBLE, OF_A_TEST, DidNotStart, Httpd
from stand_in import RELEASED, TITLES, VERSIONS, WaltServer

ADDRESS = "127.0.0.1"
NAME = "localhost"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Entrypoint(Httpd):
    """The entrypoint `localhost` of that WalT server, on a port that the user chose."""

    server_name = NAME

    def __init__(self, folder, location, port):
        super().__init__(folder, "ServerAlias %s\nWaltVpnServer %s" % (ADDRESS, location),
                         server="WaltVpnCacheRoot %s/images" % folder, fixed_port=port)


def port_problem(port):
    """What keeps this port from being used, or None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)     # as httpd will
        try:
            probe.bind((ADDRESS, port))
        except OverflowError:
            return "not a port; choose one from 1 to 65535, as in: make run PORT=8081"
        except OSError as problem:
            remedy = "make run PORT=%d" % (port + 1 if 1024 <= port < 65535 else 8081)
            if problem.errno == errno.EACCES:
                return "needs root; become root or choose another port, as in: %s" % remedy
            return "%s; end who uses it or choose another port, as in: %s" % (problem.strerror, remedy)
    return None


def seed_check(port):
    """The check that WalT's documentation gives."""
    command = ["curl", "http://%s:%d/walt-vpn/server" % (NAME, port)]
    print("$ " + " ".join(command))
    answer = subprocess.run(command + ["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True).stdout
    print(answer.rstrip("\n") + "\n")


def boot_a_node(port, node):
    """Whether it booted."""
    print("An emulated node asks for its boot files:")
    boot = BootClient(ADDRESS, port, node, NAME).boot()
    print("%s\n" % boot)
    return boot.booted


def tell_warnings(httpd, booted):
    """What the module warns of, but for what is so by intention here: another port than 80, and everything exposed."""
    try:
        if not booted:
            httpd.await_log(NODE_TROUBLE, 2)    # which is written a moment after the reply
    except TimeoutError:
        pass
    warnings = [line for line in httpd.error_log.splitlines()
                if re.search(r"\[walt_vpn:(warn|error)\]", line) and not re.search(OF_A_TEST, line)]
    if warnings:
        print("Its error log warns:")
        print("\n".join(re.sub(r"^(\[[^]]*\] )+", "", line) for line in warnings) + "\n")


def tell_what_to_try(location):
    """How to see whether the WalT server is there at all."""
    host = re.sub(r":\d+$", "", location)
    is_address = re.fullmatch(r"[\d.]+|\[.*\]", host)
    print("-> try: %scurl http://%s/walt-vpn/server\n" % ("" if is_address else "getent hosts %s; " % host, location))


def follow(httpd):
    """Shows the access log from its beginning, for ever."""
    with open(httpd.access_log_path, errors="replace") as log:
        while httpd.process.poll() is None:
            line = log.readline()
            if line:
                print(line, end="")
            else:
                time.sleep(0.1)
    sys.exit("httpd has ended:\n" + httpd.console + httpd.error_log)


def serve(port, location, node, about=""):
    """about: what is to be said of that WalT server."""
    folder = tempfile.mkdtemp(prefix="walt-vpn-run-")
    httpd = Entrypoint(folder, location, port)
    try:
        httpd.start()
        print("http://%s:%d/walt-vpn/ is the VPN HTTP entrypoint of the WalT server %s.\n%s" % (NAME, port, location, about))
        seed_check(port)
        booted = boot_a_node(port, node)
        tell_warnings(httpd, booted)
        if not booted:
            tell_what_to_try(location)
        print("Its access log, until Ctrl-C:")
        follow(httpd)
    except DidNotStart as problem:
        sys.exit("httpd did not start:\n%s" % problem)
    finally:
        httpd.stop()
        shutil.rmtree(folder)


def end(*_):
    """Once: an impatient second Ctrl-C must not disturb the end."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=8080)
    options.add_argument("--walt-server", default="", help="host[:port] (default: a stand-in, started here)")
    options.add_argument("--walt-version", choices=VERSIONS, help="which one the stand-in plays (default %s)" % RELEASED)
    options.add_argument("--node", default="192.168.152.7", help="IP address of the node that boots (default %(default)s)")
    parser, options = options, options.parse_args()
    if options.walt_server and options.walt_version:
        parser.error("--walt-version is that of the stand-in, and --walt-server means another WalT server")

    problem = port_problem(options.port)
    if problem:
        sys.exit("port %d of %s: %s" % (options.port, ADDRESS, problem))
    for number in ENDING:
        signal.signal(number, end)
    sys.stdout.reconfigure(line_buffering=True)
    os.umask(0o022)         # httpd's children must find their way
    try:
        if options.walt_server:
            serve(options.port, options.walt_server, options.node)
        else:
            version = options.walt_version or RELEASED
            with WaltServer(image_mib=16, version=version) as walt:
                serve(options.port, walt.location, options.node,
                      "That is a stand-in, which plays the %s;\nmake run WALT_VERSION=%s plays the other.\n" % (
                          TITLES[version], next(other for other in VERSIONS if other != version)))
    except KeyboardInterrupt:
        print("\nEnded.")


if __name__ == "__main__":
    main()
