"""What an entrypoint must do, each as one function that any entrypoint can be put to.

pytest demands all of it of our module (whole/test_keeps_every_promise.py); compare.py prints how the configurations that WalT
documents fare.
"""

import collections
import os

import wire
from boot_client import BootClient, Outcome
from setup_check import setup_check

Verdict = collections.namedtuple("Verdict", "passed words")
Behaviour = collections.namedtuple("Behaviour", "title judge")
BEHAVIOURS = []

NODE = "192.168.152.7"
PLACE = "/walt-vpn/per-ip/192-168-152-7/"
HALF = 1 << 19      # of the 1 MiB image

SHORT = {
    Outcome.BOOTED: "boots", Outcome.HANGS: "board hangs", Outcome.WEDGED: "board hangs", Outcome.CORRUPT: "image corrupt",
    Outcome.RESTARTS: "boot starts over", Outcome.HTTP_ERROR: "HTTP error", Outcome.REDIRECTED: "redirected",
    Outcome.NOT_UNDERSTOOD: "not understood", Outcome.GAVE_UP: "gives up", Outcome.UNREACHABLE: "unreachable",
}


def behaviour(title):
    def enlist(judge):
        BEHAVIOURS.append(Behaviour(title, judge))
        return judge
    return enlist


def boot(entrypoint, **options):
    """The verdict of a node."""
    result = BootClient("127.0.0.1", entrypoint.port, NODE, entrypoint.server_name, **options).boot()
    return Verdict(result.booted, SHORT[result.outcome])


def boot_across(entrypoint, walt, kind, **options):
    """The verdict of a node when the WalT server's first boot.img breaks off half-way."""
    walt.fault("boot.img", kind, at_byte=HALF)
    verdict = boot(entrypoint, **options)
    assert walt.requests("boot.img")[0].sent == HALF, "the fault did not strike"
    return verdict


def ask(entrypoint, path, host=None, **options):
    return wire.exchange(entrypoint.port, wire.request(path, host or entrypoint.server_name, **options))


def all_stopped(entrypoint, walt, raws):
    """Not one of these requests may reach the WalT server."""
    passed = 0
    for raw in raws:
        before = len(walt.requests())
        wire.exchange(entrypoint.port, raw)
        passed += len(walt.requests()) > before
    return Verdict(not passed, "stopped" if not passed else "%d of %d pass" % (passed, len(raws)))


@behaviour("a node boots")
def node_boots(entrypoint, walt, patience):
    return boot(entrypoint)


@behaviour("walt-server-setup accepts the entrypoint")
def setup_check_passes(entrypoint, walt, patience):
    problem = setup_check("127.0.0.1:%d" % entrypoint.port, walt.fqdn, entrypoint.server_name)
    return Verdict(problem is None, problem or "accepted")


@behaviour("the node loses its link half-way through boot.img")
def link_lost(entrypoint, walt, patience):
    return boot(entrypoint, lost_links={"boot.img": [HALF]})


@behaviour("WalT server closes half-way through boot.img")
def server_closes(entrypoint, walt, patience):
    return boot_across(entrypoint, walt, "fin")


@behaviour("WalT server resets half-way through boot.img")
def server_resets(entrypoint, walt, patience):
    return boot_across(entrypoint, walt, "rst")


@behaviour("WalT server falls silent half-way through boot.img")
def server_silent(entrypoint, walt, patience):
    return boot_across(entrypoint, walt, "silence", patience=patience)


@behaviour("WalT server closes half-way through boot.sig")
def signature_cut(entrypoint, walt, patience):
    walt.fault("boot.sig", "fin", at_byte=300)
    verdict = boot(entrypoint)
    return Verdict(verdict.words in ("boots", "boot starts over"), verdict.words)


@behaviour("WalT server is down, and up again")
def server_down(entrypoint, walt, patience):
    walt.down()
    down = ask(entrypoint, "/walt-vpn/server").status
    walt.up()
    up = ask(entrypoint, "/walt-vpn/server").status
    return Verdict(down in (502, 503) and up == 200, "%s, %s" % (down, up))


@behaviour("the site sends every visitor to https")
def site_wide_redirect(entrypoint, walt, patience):
    folder = os.path.join(entrypoint.folder, "https")
    os.makedirs(folder, exist_ok=True)
    with type(entrypoint)(folder, walt, https=True) as redirecting:
        return boot(redirecting)


@behaviour("a request for another host name")
def other_host(entrypoint, walt, patience):
    return all_stopped(entrypoint, walt, [wire.request("/walt-vpn/server", "elsewhere.example.org")])


@behaviour("a request for a directory, which ends the WalT daemon")
def directory(entrypoint, walt, patience):
    return all_stopped(entrypoint, walt, [
        wire.request(path, entrypoint.server_name)
        for path in (PLACE, PLACE + ".", PLACE + "/", PLACE + "x/..", PLACE + "%2e", PLACE + "%2f", PLACE + "./.",
                     PLACE + "overlays")])


@behaviour("requests that leave the node's folder")
def traversal(entrypoint, walt, patience):
    return all_stopped(entrypoint, walt, [
        wire.request(PLACE + path, entrypoint.server_name)
        for path in ("../../../../etc/passwd", "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "..%2f..%2f..%2fetc/passwd",
                     "%2E%2E%2F%2E%2E%2Fetc", "x/../../../../etc", ".%2e/.%2e/.%2e/etc", "..%5c..%5cetc",
                     "%252e%252e/%252e%252e/etc", "..;/..;/etc")])


@behaviour("a stranger who names a requester's address")
def impersonation(entrypoint, walt, patience):
    target = "/walt-vpn/node-conf/x?"
    return all_stopped(entrypoint, walt, [
        wire.request(target + query, entrypoint.server_name)
        for query in ("fake_requester_ip=192.168.152.7", "a=b&fake_requester_ip=192.168.152.7",
                      "%66ake_requester_ip=192.168.152.7", "fake%5frequester%5Fip=192.168.152.7")])


@behaviour("an enroll key of 100 KiB, which ends the WalT daemon")
def large_key(entrypoint, walt, patience):
    body = (b'--limit\r\nContent-Disposition: form-data; name="ssh-pubkey"; filename="k"\r\n\r\n'
            + b"k" * 102400 + b"\r\n--limit--\r\n")
    ask(entrypoint, "/walt-vpn/enroll", method="POST", body=body,
        headers=[("Content-Type", "multipart/form-data; boundary=limit")])
    return Verdict(not walt.fatal_events(), "passes" if walt.fatal_events() else "stopped")


@behaviour("an enroll request in chunks, which the WalT server can't read")
def chunked_enroll(entrypoint, walt, patience):
    form = b'--limit\r\nContent-Disposition: form-data; name="ssh-pubkey"; filename="k"\r\n\r\nkey\r\n--limit--\r\n'
    status = ask(entrypoint, "/walt-vpn/enroll", method="POST", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(form), form),
                 headers=[("Content-Type", "multipart/form-data; boundary=limit"), ("Transfer-Encoding", "chunked")]).status
    return Verdict(status == 200, str(status))


@behaviour("two lengths in one request")
def two_lengths(entrypoint, walt, patience):
    head = "POST /walt-vpn/enroll HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n\r\n"
    return all_stopped(entrypoint, walt, [
        (head % (entrypoint.server_name, lengths)).encode() + b"abcdef"
        for lengths in ("Content-Length: 3\r\nContent-Length: 6", "Content-Length: 3, 6", "Content-Length: -1")])
