"""walt-vpn-check: is this a VPN HTTP entrypoint that nodes can boot through, and if not, what is to be done?

It harms nobody: it asks only for what nodes ask for, one thing at a time, and each question has an end.
"""

import argparse
import ipaddress
import re
import sys
import traceback
import urllib.parse

import checks
import entrypoints
import image_folder
import questions
from boot_client import PATIENCE
from report import Report, Verdict

SHORTEST_PREFIX = 8     # digits of a digest to purge: the log tells 12


def check_here(report, options):
    """Each entrypoint of this machine."""
    configuration = entrypoints.read(options.httpd, options.modules)
    if not configuration.entrypoints:
        report.critical("httpd's configuration has no WaltVpnServer: this machine is no entrypoint",
                        "write one in a virtual host, as in /etc/apache2/sites-available/walt-entry.conf; type: a2ensite "
                        "walt-entry && apachectl configtest && systemctl reload apache2")
    for entrypoint in configuration.entrypoints:
        report.title("%s, entrypoint of %s (%s)" % (entrypoint.name, entrypoint.walt_server, entrypoint.place),
                     entrypoint.name)
        walt = checks.check_walt_server(report, entrypoint, options)
        addresses = checks.check_name(report, entrypoint.name, options) or []
        if addresses:
            checks.tell_name(report, entrypoint.name, addresses)
        address = checks.check_port(report, entrypoint.name, addresses, walt, configuration, options)
        if address:
            checks.check_aliases(report, entrypoint, address, walt, options)
        checks.check_folder(report, entrypoint, configuration.user)
        if address:
            checks.check_nodes(report, address, options.port, entrypoint.name, options, entrypoint.folder)
        elif options.node or options.warm:
            report.unknown("no node was tried", "mend the above first")
    return told_good(", ".join(entrypoint.name for entrypoint in configuration.entrypoints), options)


def check_there(report, options):
    """An entrypoint as nodes see it."""
    host, port = options.url.hostname, options.url.port or 80
    report.title("%s, as seen from here" % options.entrypoint, host)
    asked = options.host or questions.in_host_line(host)
    addresses = checks.check_name(report, host, options)
    results = [(address, checks.check_address(address, port, asked, None, options)) for address in addresses or ()]
    good = [address for address, (verdict, _, _) in results if verdict is Verdict.OK]
    for address, (verdict, text, remedy) in results:
        if verdict is Verdict.UNKNOWN:
            verdict = Verdict.CRITICAL      # from here it is all one whose fault it is
            remedy = "look at the error log of httpd there, and at the WalT server"
        if verdict is not Verdict.OK and ":" in address and good:
            verdict = Verdict.NOTE
        report.say(verdict, text, remedy)
    if good:
        checks.check_nodes(report, good[0], port, asked, options)
    return told_good(options.entrypoint, options)


def told_good(who, options):
    """The summary when nothing is bad."""
    nodes = [options.node] * bool(options.node) + (options.warm or [])
    return who + (": in order" if not nodes else ": node%s %s boot%s" % (
        "" if len(nodes) == 1 else "s", ", ".join(nodes), "s" if len(nodes) == 1 else ""))


def chosen(digest, images):
    """The digests that a word of the administrator's means."""
    return sorted(images) if digest == "all" else [known for known in sorted(images) if known.startswith(digest)]


def purge(report, options):
    """Removes images from the folders of this machine's entrypoints."""
    configuration = entrypoints.read(options.httpd, options.modules)
    there, blind = {}, False
    for folder in configuration.folders:
        try:
            there[folder.path] = image_folder.contents(folder.path).images
        except FileNotFoundError:
            report.note("cache folder %s is not there" % folder.path, "httpd makes it when it starts")
        except OSError as problem:
            blind = True
            tell_not_purged(report, folder.path, problem, options)
    found = {digest for images in there.values() for digest in chosen(options.purge, images)}
    if options.purge != "all" and len(found) > 1:
        report.unknown("%s begins several images: %s" % (options.purge, ", ".join(sorted(found))), "write more of it")
        return "nothing was removed"
    if options.purge != "all" and not found and not blind:
        report.unknown("no image begins with %s" % options.purge, "see which there are on the status page, or in the folder")
    gone = set()
    for path in there:
        removed, problem = image_folder.purge(path, found & set(there[path]))
        gone.update(removed)
        for digest in sorted(removed):
            report.ok("removed %s from %s: %.0f MiB" % (digest, path, removed[digest] / checks.MIB))
        if problem:
            tell_not_purged(report, path, problem, options)
    return "%d image%s removed" % (len(gone), "" if len(gone) == 1 else "s")


def tell_not_purged(report, path, problem, options):
    """That this folder's images, or one of them, can't be removed."""
    report.unknown("cache folder %s: %s" % (path, problem.strerror),
                   "only root and httpd's user may: sudo walt-vpn-check --purge %s" % options.purge
                   if isinstance(problem, PermissionError) else "mend that, or the folder in WaltVpnCacheRoot")


def main():
    options = parse_options()
    report = Report()
    try:
        good = (purge if options.purge else check_there if options.entrypoint else check_here)(report, options)
    except entrypoints.NotRead as problem:
        report.say(Verdict.CRITICAL if problem.refused else Verdict.UNKNOWN, str(problem), problem.remedy)
        good = ""
    except Exception as problem:    # else its exit status would say that a node does not boot
        report.unknown("walt-vpn-check itself failed: %s: %s" % (type(problem).__name__, problem), "report this as a bug")
        traceback.print_exc()
        good = ""
    except KeyboardInterrupt:
        report.unknown("interrupted", "let it go on to its end")
        good = ""
    print(report.text(good, options.nagios))
    sys.exit(report.verdict.value[2 if options.nagios else 1])


# ------------------------------------------------------------------ the command line

class Parser(argparse.ArgumentParser):
    """Of a monitoring plugin a wrong command line is told where plugins tell: on stdout, and not with 2, which is CRITICAL."""

    def error(self, message):
        if "--nagios" not in sys.argv[1:]:
            super().error(message)
        print("WALT-VPN UNKNOWN: " + message)
        sys.exit(Verdict.UNKNOWN.value[2])


def node_address(text):
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise argparse.ArgumentTypeError("%s is not an IPv4 address as 192.168.152.7" % text)


def image_name(text):
    if text != "all" and not re.fullmatch("[0-9a-f]{%d,64}" % SHORTEST_PREFIX, text):
        raise argparse.ArgumentTypeError("%s: write \"all\", or the first %d or more digits of an image's SHA-256"
                                         % (text, SHORTEST_PREFIX))
    return text


def above_zero(text):
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("%s: write a number greater than zero" % text)
    return number


def port_number(text):
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError("%s: write a number from 1 to 65535" % text)
    return int(text)


def parse_options():
    parser = Parser(
        prog="walt-vpn-check", allow_abbrev=False,
        description="Checks the WalT VPN HTTP entrypoints of this machine, or one that is elsewhere.",
        epilog="Exit status: 0 nodes can boot, 1 a node would not boot, 2 could not tell. See walt-vpn-check(1).")
    parser.add_argument("entrypoint", nargs="?", help="http://name[:port]: one as nodes see it (default: this machine's)")
    parser.add_argument("--node", metavar="IP", type=node_address,
                         help="boot an emulated node that has that address in WalT, and loses its link once")
    parser.add_argument("--warm", metavar="IP", type=node_address, nargs="+",
                         help="fetch these nodes' images into the cache, ahead of time")
    parser.add_argument("--purge", metavar="DIGEST|all", type=image_name, help="remove that image, or all, from the cache")
    parser.add_argument("--nagios", action="store_true", help="exit statuses and figures of a monitoring plugin")
    parser.add_argument("--timeout", metavar="S", type=above_zero, default=5,
                         help="seconds for each question (default %(default)s)")
    parser.add_argument("--patience", metavar="S", type=above_zero, default=PATIENCE,
                         help="seconds without a byte until a node resumes (default %(default)s)")
    parser.add_argument("--limit", metavar="S", type=above_zero, default=600,
                         help="most seconds for the boot of a node (default %(default)s)")
    parser.add_argument("--watchdog", metavar="S", type=above_zero,
                         help="say whether a node boots before a watchdog of so many seconds (BOOT_WATCHDOG_TIMEOUT) resets it")
    parser.add_argument("--rate", metavar="BYTES", type=above_zero,
                         help="most bytes a second that a node takes (default: no limit)")
    parser.add_argument("--host", metavar="NAME", help="the name that nodes ask for, if it is not the one of the URL")
    parser.add_argument("--port", metavar="N", type=port_number,
                         help="the port of this machine that nodes are led to (default 80)")
    parser.add_argument("--httpd", metavar="COMMAND", help="how httpd is called, as in \"httpd -f /etc/httpd/other.conf\"")
    parser.add_argument("--modules", metavar="FOLDER", help="where httpd's modules are, if they are not found")
    options = parser.parse_args()
    check_options(parser, options)
    return options


def meant_name(text):
    """The name, and the port if it is one, in what should be the URL of an entrypoint; an example where there is no name."""
    found = re.match(r"(?:\w+://)?([\w.-]+)(?::(\d+))?(?:[/?#]|$)", text)
    if not found:
        return "walt-entry.example.org"
    name, port = found.groups()
    return name + (":" + port if port and 0 < int(port) < 65536 else "")


def check_options(parser, options):
    """Refuses what can't be meant."""
    if options.purge and (options.entrypoint or options.node or options.warm):
        parser.error("--purge stands alone: it is about the folders of this machine")
    if options.watchdog and not (options.node or options.warm):
        parser.error("--watchdog goes with --node or --warm: it is a board's")
    if not options.entrypoint:
        if options.host:
            parser.error("--host goes with http://name")
        options.port = options.port or 80
        return
    if options.port:
        parser.error("--port is one of this machine: write it into the URL, as in http://NAME:%d" % options.port)
    try:
        options.url = urllib.parse.urlsplit(options.entrypoint)
        good = options.url.scheme == "http" and options.url.hostname and not options.url.path.strip("/") \
            and not options.url.query and options.url.port != 0
    except ValueError:
        good = False
    if not good:
        parser.error("%s: %swrite http://NAME[:port] without a path, as in: walt-vpn-check http://%s" % (
            options.entrypoint, "nodes know no https; " if options.entrypoint.startswith("https:") else "",
            meant_name(options.entrypoint)))


if __name__ == "__main__":
    main()
