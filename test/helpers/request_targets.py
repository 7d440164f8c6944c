#!/usr/bin/python3
"""What may stand behind /walt-vpn/ in a request target and what may not, each with its reason.

The table is put to the judgement itself and to a running entrypoint; and it is where the fuzzer sets out from:

    test/helpers/request_targets.py FOLDER      writes each target to a file there
"""

import collections
import os
import sys

NODE = "per-ip/192-168-152-7/"

# target: behind /walt-vpn/.  fault: a part of the reason in the log.
Refused = collections.namedtuple("Refused", "target fault reason")
# file: as request/judge.h counts them.  plain: let through by WaltVpnExpose boot too.
Accepted = collections.namedtuple("Accepted", "target file node plain reason")

OTHER, SERVER, SIG, IMG, ENROLL = range(5)

REFUSED = [Refused(*row) for row in [
    ("..", "dot segment", "the parent folder"),
    (".", "dot segment", "the folder itself"),
    ("../", "dot segment", "the parent folder"),
    ("../../etc/passwd", "dot segment", "a file of the WalT server, in the plainest way"),
    ("server/..", "dot segment", "leaves the last segment"),
    ("./server", "dot segment", "means server, but nobody who means well writes it so"),
    (NODE + "../../../../etc/passwd", "dot segment", "a file, from the node's folder"),
    (NODE + "x/../../../../etc/passwd", "dot segment", "a file, down first"),
    ("%2e%2e/%2e%2e/etc/passwd", "dot segment", "encoded dots"),
    ("%2E%2E/etc/passwd", "dot segment", "encoded dots, upper case"),
    (".%2e/etc/passwd", "dot segment", "one of two dots encoded"),
    ("%2e./etc/passwd", "dot segment", "the other one encoded"),
    ("%252e%252e/etc/passwd", "dot segment", "dots encoded twice"),
    ("%25252e%25252e/etc/passwd", "dot segment", "dots encoded three times"),
    ("%2525252e%2525252e/etc/passwd", "escapes within escapes", "dots encoded four times: no one decodes so often"),
    ("%25%32%65%25%32%65/etc/passwd", "dot segment", "dots encoded twice, every byte of them"),
    (NODE + "..%2f..%2f..%2fetc/passwd", "dot segment", "encoded slashes behind dots"),
    (NODE + "..%2F..%2Fetc/passwd", "dot segment", "the same in upper case"),
    (NODE + "..%252f..%252fetc/passwd", "dot segment", "slashes encoded twice"),
    (NODE + "..%25252f..%25252fetc/passwd", "dot segment", "slashes encoded three times"),
    (NODE + "boot.img%2fx", "encoded slash", "an encoded slash that leads nowhere, yet another path to each reader"),
    ("per-ip%2f192-168-152-7%2fboot.img", "encoded slash", "a good path with encoded slashes: the WalT server reads slashes"),
    ("%2fetc/passwd", "empty segment", "an absolute path"),
    ("%2f", "empty segment", "an empty segment in disguise"),
    ("..\\..\\etc\\passwd", "backslash", "backslashes, which some take for slashes"),
    ("..%5c..%5cetc", "backslash", "encoded ones"),
    ("..%255c..%255cetc", "backslash", "ones encoded twice"),
    ("a\\b", "backslash", "a backslash that leads nowhere"),
    ("..;/..;/etc/passwd", "dot segment", "parameters, which some servers cut off before they resolve dots"),
    ("..;a=b/etc/passwd", "dot segment", "parameters with a value"),
    (".;/x", "dot segment", "the same with one dot"),
    ("..%3b/etc/passwd", "dot segment", "an encoded semicolon"),
    ("%2e%2e%3b/etc/passwd", "dot segment", "everything encoded"),
    ("..%00/etc/passwd", "NUL", "a NUL byte, where C programs stop reading"),
    (NODE + "boot.img%00.sig", "NUL", "a NUL byte within a name"),
    (NODE + "boot.img%2500", "NUL", "a NUL byte encoded twice"),
    ("server%0d%0aX-Injected:%201", "control character", "a line break that would split the request"),
    ("server%0a", "control character", "a line feed at the end"),
    ("server%09", "control character", "a tab"),
    ("server%7f", "control character", "DEL"),
    ("server%1b[2J", "control character", "an escape sequence for the terminal of whoever reads the log"),
    ("server%250a", "control character", "a line feed encoded twice"),
    (".%80./etc/passwd", "not UTF-8", "a byte that bottle 0.13 drops: what is left are two dots"),
    (".%C3./etc/passwd", "not UTF-8", "half a character, which bottle 0.13 drops"),
    ("%c0%ae%c0%ae/etc/passwd", "not UTF-8", "dots in overlong UTF-8"),
    ("..%c0%afetc", "not UTF-8", "a slash in overlong UTF-8"),
    ("x%ed%a0%80", "not UTF-8", "a surrogate"),
    (".%2580./etc", "not UTF-8", "a dropped byte, encoded twice"),
    ("%u002e%u002e/etc", "broken escape", "dots as Microsoft's servers read them"),
    ("x%2", "broken escape", "an escape that ends early"),
    ("x%", "broken escape", "a per cent sign alone"),
    ("x%zz", "broken escape", "an escape of no byte"),
    (NODE + "caf\xc3\xa9", "has to be escaped", "UTF-8 as it is: no URL has that"),
    ("node-conf/x?a=\xc3\xa9", "has to be escaped", "the same in a query"),
    ("node-conf/x?a=\xff", "has to be escaped", "and what is no UTF-8"),
    ("/server", "empty segment", "doubled slash"),
    ("/", "empty segment", "doubled slash, nothing behind it"),
    ("//etc/passwd", "empty segment", "an absolute path after three slashes"),
    ("node-conf//x", "empty segment", "doubled slash in the middle"),
    (";/server", "empty segment", "nothing but parameters: an empty segment to who cuts them off"),
    ("x/;a", "empty segment", "the same at the end"),
    ("per-ip", "directory", "the folder of all nodes: asking for a folder ends the WalT daemon"),
    ("per-ip/", "directory", "the same with a slash"),
    ("per-ip/192-168-152-7", "directory", "the node's folder"),
    (NODE, "directory", "the node's folder with a slash"),
    (NODE + ".", "dot segment", "the node's folder with a dot"),
    (NODE + "./", "dot segment", "the same and a slash"),
    (NODE + "%2e", "dot segment", "the same dot, encoded"),
    (NODE + "x/..", "dot segment", "the node's folder, there and back"),
    (NODE + "/", "empty segment", "the node's folder with two slashes"),
    (NODE + "/boot.img", "empty segment", "doubled slash before the file"),
    ("per-ip//192-168-152-7/boot.img", "empty segment", "doubled slash before the address"),
    (NODE + "boot.img/", "directory", "a file asked for as a folder"),
    (NODE + ";x", "directory", "parameters of nothing: the node's folder again"),
    ("per-ip;x/192-168-152-7/", "directory", "per-ip with parameters"),
    ("%70er-ip/192-168-152-7/", "directory", "an encoded letter in per-ip"),
    ("%2570er-ip/192-168-152-7/", "directory", "one encoded twice"),
    (NODE + "overlays", "directory", "the one folder in a Raspberry Pi 5's boot folder"),
    (NODE + "overlays/", "directory", "the same with a slash"),
    (NODE + "overl%61ys", "directory", "with an encoded letter"),
    (NODE + "overl%2561ys", "directory", "with one encoded twice"),
    (NODE + "overlays;x", "directory", "with parameters, which some servers cut off"),
    (NODE + "overlays%3bx", "directory", "with encoded ones"),
    ("per-ip/x/overlays", "directory", "whatever stands for the address"),
    ("%70er-ip/192-168-152-7/overlays", "directory", "an encoded letter in per-ip"),
    ("per-ip/192-168-152-7%2f", "directory", "the node's folder, its slash encoded"),
    ("node-conf/x?fake_requester_ip=192.168.152.7", "fake_requester_ip", "a stranger who names a requester's address"),
    ("node-conf/x?a=b&fake_requester_ip=1.2.3.4", "fake_requester_ip", "as the second argument"),
    ("node-conf/x?a=b;fake_requester_ip=1.2.3.4", "fake_requester_ip", "behind a semicolon, which older Pythons split at"),
    ("node-conf/x?fake_requester_ip", "fake_requester_ip", "without a value"),
    ("node-conf/x?%66ake_requester_ip=1.2.3.4", "fake_requester_ip", "an encoded letter"),
    ("node-conf/x?fake%5Frequester%5fip=1.2.3.4", "fake_requester_ip", "encoded underscores"),
    ("node-conf/x?fake%255frequester_ip=1.2.3.4", "fake_requester_ip", "one encoded twice"),
    ("node-conf/x?fake%25255frequester_ip=1.2.3.4", "fake_requester_ip", "one encoded three times"),
    ("node-conf/x?%2525252566ake_requester_ip=1.2.3.4", "escapes within escapes", "a letter encoded more often than that"),
    ("node-conf/x?a%26fake_requester_ip=1.2.3.4", "fake_requester_ip", "behind an encoded ampersand"),
    ("node-conf/x?fake_%80requester_ip=1.2.3.4", "fake_requester_ip", "with a byte in it that a decoder drops"),
    ("node-conf/x?FAKE_Requester_IP=1.2.3.4", "fake_requester_ip", "in other letters"),
    ("node-conf/x?+fake_requester_ip=1.2.3.4", "fake_requester_ip", "behind a space"),
    ("node-conf/x?fake_requester_ip%00=1.2.3.4", "NUL", "a NUL byte behind it"),
    ("enroll?fake_requester_ip=192.168.152.7", "fake_requester_ip", "the way to a certificate"),
    (NODE + "boot.img?fake_requester_ip=1.2.3.4", "fake_requester_ip", "on a boot file"),
]]

ACCEPTED = [Accepted(*row) for row in [
    ("server", SERVER, "", True, "the setup check"),
    (NODE + "boot.sig", SIG, "192.168.152.7", True, "a node's first request"),
    (NODE + "boot.img", IMG, "192.168.152.7", True, "a node's second request"),
    ("per-ip/0-0-0-0/boot.img", IMG, "0.0.0.0", True, "the lowest address"),
    ("per-ip/255-255-255-255/boot.img", IMG, "255.255.255.255", True, "the highest, and the longest"),
    (NODE + "boot%2eimg", IMG, "192.168.152.7", False, "what is a letter less to the WalT server, but no node writes it so"),
    ("%73erver", SERVER, "", False, "the same for the setup check"),
    (NODE + "boot.sig?", SIG, "192.168.152.7", False, "an empty query is a query"),
    ("server?x=1", SERVER, "", False, "a query"),
    ("per-ip/256-1-1-1/boot.img", OTHER, "", False, "no address: a byte too large"),
    ("per-ip/1-2-3/boot.img", OTHER, "", False, "no address: three bytes"),
    ("per-ip/1-2-3-4-5/boot.img", OTHER, "", False, "no address: five bytes"),
    ("per-ip/01-2-3-4/boot.img", OTHER, "", False, "no address: a leading zero, which is octal to some"),
    ("per-ip/1.2.3.4/boot.img", OTHER, "", False, "no address: dots"),
    ("per-ip/1-2-3-4x/boot.img", OTHER, "", False, "no address: a letter behind it"),
    ("per-ip/-1-2-3-4/boot.img", OTHER, "", False, "no address: a sign"),
    (NODE + "boot.imgx", OTHER, "", False, "another file of the node"),
    (NODE + "Boot.img", OTHER, "", False, "another file: case matters"),
    (NODE + "dtbs/kernel.img", OTHER, "", False, "a file in a folder of the node's"),
    (NODE + "overlays/vc4-kms-v3d-pi5.dtbo", OTHER, "", False, "a file in the one folder of a boot folder"),
    (NODE + "overlaysx", OTHER, "", False, "a longer name"),
    (NODE + "Overlays", OTHER, "", False, "another name: case matters"),
    (NODE + "x/overlays", OTHER, "", False, "further down: nothing is known of a folder there"),
    ("node-conf/overlays", OTHER, "", False, "elsewhere it is a name like any other"),
    (NODE + "boot.img;v=1", OTHER, "", False, "another name to the WalT server"),
    (NODE + "...", OTHER, "", False, "three dots are a name"),
    (NODE + "..x", OTHER, "", False, "a name that begins with dots"),
    (NODE + "caf%C3%A9", OTHER, "", False, "a name in UTF-8"),
    (NODE + "%F0%9F%98%80", OTHER, "", False, "a name of four bytes in UTF-8"),
    (NODE + "50%2525", OTHER, "", False, "a per cent sign, encoded twice"),
    ("per-ipx/y/", OTHER, "", False, "not per-ip: the WalT server knows no such folder"),
    ("Server", OTHER, "", False, "case matters"),
    ("server/", OTHER, "", False, "not the setup check's path"),
    ("node-conf/", OTHER, "", False, "a folder elsewhere does no harm"),
    ("node-conf/x?a=b&c=d", OTHER, "", False, "a query"),
    ("node-conf/x?requester_ip=1.2.3.4", OTHER, "", False, "another argument"),
    ("node-conf/x?a=%2e%2e%2f", OTHER, "", False, "dots and slashes in a query lead nowhere"),
    ("", OTHER, "", False, "the folder itself"),
    ("enroll", ENROLL, "", False, "a node inside the WalT network enrolls"),
    ("%65nroll", ENROLL, "", False, "the same to the WalT server: its limit holds"),
    ("%2565nroll", ENROLL, "", False, "in doubt the limit holds"),
    ("enroll;x", ENROLL, "", False, "in doubt the limit holds"),
]]

# The beginning of a path that some server would take for /walt-vpn/, and why.
DISGUISES = collections.OrderedDict([
    ("/./walt-vpn/", "a dot"),
    ("/.//walt-vpn/", "a dot, and a slash more, which httpd keeps with MergeSlashes Off, and its ProxyPass takes"),
    ("/x/../walt-vpn/", "there and back"),
    ("/x/..//walt-vpn/", "the same, and a slash more"),
    ("/x//../walt-vpn/", "back over the empty segment, or over x"),
    ("/../walt-vpn/", "from above the top"),
    ("/x/%2e%2e/walt-vpn/", "encoded dots"),
    ("/%2e/w%61lt-vpn/", "an encoded dot, and a letter"),
    ("/x/%252e%252e/walt-vpn/", "dots encoded twice"),
    ("/x%2f..%2fwalt-vpn/", "encoded slashes"),
    ("/x%2f../walt-vpn/", "one of them"),
    ("/%2fwalt-vpn/", "an encoded slash more"),
    ("/walt-vpn%2f", "an encoded slash"),
    ("/walt-vpn%252f", "one encoded twice"),
    ("/x/..;/walt-vpn/", "parameters, which servlets drop before they resolve dots"),
    ("/x/..;a=b/walt-vpn/", "parameters with a value"),
    ("/;x/walt-vpn/", "parameters of nothing"),
    ("/walt-vpn;x/", "parameters behind the name"),
    ("/walt-vpn%3bx/", "encoded ones"),
    ("/walt-vpn%5c", "an encoded backslash"),
    ("/x%5c..%5cwalt-vpn%5c", "backslashes all over"),
    ("/x/.%80./walt-vpn/", "a byte that bottle drops"),
    ("/wa%80lt-vpn/", "such a byte within the name"),
    ("/w%2561lt-vpn/", "a letter encoded twice"),
    ("/x/.%09./walt-vpn/", "a tab, which URL parsers drop"),
])

# What stands there leads to the site in every reading.
NO_DISGUISES = collections.OrderedDict([
    ("/", "the front page"),
    ("", "nothing"),
    ("*", "OPTIONS *"),
    ("/walt-vpn", "no slash behind it"),
    ("/x/../walt-vpn", "none here either"),
    ("/WALT-VPN/server", "paths know capitals"),
    ("/walt-vpnx/../page", "a longer name"),
    ("/x/walt-vpn/server", "further down"),
    ("/x/walt-vpn/../server", "there and back, further down"),
    ("/x/walt-vpn%2fserver", "the same with an encoded slash, as wikis have it"),
    ("/x%2fy/walt-vpn/server", "and with one before it"),
    ("/caf%E9/walt-vpn/x", "behind a name in Latin-1"),
    ("/x;a=b/walt-vpn/server", "behind parameters of a name"),
    ("/x/..//../page", "dots, and another name"),
    ("/x//y", "a slash more, and another name"),
    ("/%2525252577alt-vpn/x", "encoded more often than anybody decodes"),
])


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    targets = [row.target for row in REFUSED + ACCEPTED] + [start + NODE for start in DISGUISES] + list(NO_DISGUISES)
    for number, target in enumerate(targets):
        with open(os.path.join(folder, "%03d" % number), "w", encoding="latin-1") as file:
            file.write(target)


if __name__ == "__main__":
    main()
