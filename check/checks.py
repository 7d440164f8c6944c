"""The checks of an entrypoint, from its WalT server to a node that boots. Each tells the report what it found."""

import re
import time

import image_folder
import questions
from boot_client import MOST_REPLIES, STAYS_ON, BootClient, Outcome
from report import Verdict

SETUP_PATIENCE = 2      # seconds in which walt-server-setup wants its answer
MIB = 1 << 20
LOST_AT = 64 << 10      # bytes of boot.img after which --node loses its link: an image is a whole number of MiB

NAME_SERVER = "see that this machine has a name server (/etc/resolv.conf)"
LET_IN = 'in the site, <Location "/walt-vpn/"> with "Require all granted"'
MERE_PROXY = "it is no mod_walt_vpn that answers there, but a mere proxy, which sends the whole file when a node resumes: " \
             "write WaltVpnServer in that site in place of its ProxyPass; which site it is: apachectl -S"
LOOK_AT_BOTH = "look at the error log of httpd, and whether it is mod_walt_vpn that answers there"
REMEDIES = {
    Outcome.HANGS: "the reply ended short without a reset, as it does behind a mere proxy; " + LOOK_AT_BOTH,
    Outcome.WEDGED: "take that header out of the site's replies (Header unset NAME)",
    Outcome.CORRUPT: "the image is not the signed one; " + LOOK_AT_BOTH,
    Outcome.RESTARTS: "look at the error log of httpd, and at the WalT server",
    Outcome.REDIRECTED: "nodes are not redirected by mod_walt_vpn: another site or server answers; type: apachectl -S",
    Outcome.NOT_UNDERSTOOD: LOOK_AT_BOTH,
    Outcome.GAVE_UP: "look at the error log of httpd, at the WalT server and at the link to it",
    Outcome.UNREACHABLE: "see whether httpd runs and whether a firewall stands between",
    Outcome.UNDECIDED: "give it more time with --limit",
}
ONE_FILE = "its %s is there: set its image up again on the WalT server, and remove boot.sig there before, if the error log of " \
           "httpd says that boot.img is not the file that its boot.sig vouches for"
NO_FILE = "its %s is not there either: see whether the WalT server knows the node (walt node show) and runs " \
          "walt-server-daemon; an image that is just being changed is there again in a moment"
MORE_TIME = "set BOOT_WATCHDOG_TIMEOUT in the board's EEPROM to more, or have its image in the cache before it boots: " \
            "walt-vpn-check --warm %s"


def at(address, port):
    return "port %d of %s" % (port, address)


# ------------------------------------------------------------------ the WalT server

def host_and_port(location):
    """Of a WaltVpnServer, which httpd has accepted."""
    host, port = re.fullmatch(r"(\[.*\]|[^:]*)(?::(\d+))?", location).groups()
    return host.strip("[]"), int(port or 80)


def check_walt_server(report, entrypoint, options):
    """Asks the WalT server itself; returns its Answer, or None if there is none."""
    host, port = host_and_port(entrypoint.walt_server)
    try:
        addresses = questions.resolve(host, options.timeout)
    except questions.Unresolved as problem:
        report.critical("the WalT server %s does not resolve: %s" % (host, problem),
                        NAME_SERVER if problem.temporary
                        else "mend WaltVpnServer (%s), or write an address there" % entrypoint.place)
        return None
    address, answer = first_answer(addresses, port, questions.in_host_line(host), options.timeout)
    who = "the WalT server%s, %s" % (" " + host if host != address else "", at(address, port))
    if isinstance(answer, questions.Unanswered):
        report.critical("%s: %s" % (who, answer), "restart its service, or give it more time with --timeout" if answer.reached
                        else "see that it runs, and that the firewalls between let this machine connect")
        return None
    if answer.problem:
        report.critical("%s, does not tell its name: %s" % (who, answer.problem),
                        "look at its services; if it is an entrypoint itself, call walt-vpn-check there"
                        if answer.status >= 500
                        else "name the WalT server in WaltVpnServer (%s)" % entrypoint.place)
        return answer
    report.figure("walt_server", "%.3fs;%d" % (answer.seconds, SETUP_PATIENCE))
    text = "%s, says %s in %.3f s" % (who, answer.name, answer.seconds)
    if answer.seconds < SETUP_PATIENCE:
        report.ok(text)
    else:
        report.note(text, "walt-server-setup wants this within %d s: look at the load of the WalT server" % SETUP_PATIENCE)
    return answer


def first_answer(addresses, port, host, seconds):
    """(address, Answer or Unanswered) of the first that takes a connection, as httpd does; else of the last."""
    for address in addresses:
        try:
            return address, questions.ask(address, port, host, seconds)
        except questions.Unanswered as problem:
            result = problem
            if problem.reached:
                break
    return address, result


# ------------------------------------------------------------------ the name, and what it leads to

def check_name(report, name, options):
    """The addresses of the name, or None if none were found."""
    try:
        return questions.resolve(name, options.timeout)
    except questions.Unresolved as problem:
        if problem.temporary:
            report.unknown("%s: %s" % (name, problem), NAME_SERVER)
        else:
            report.critical("%s does not resolve: %s" % (name, problem), "have an address entered for it in the DNS")
        return None


def tell_name(report, name, addresses):
    """Which machine the name leads to, as seen from here."""
    own = questions.own_addresses()
    foreign = [address for address in addresses if address not in own and not questions.is_loopback(address)]
    if all(map(questions.is_loopback, addresses)):
        report.note("%s is %s, which is this machine for itself alone" % (name, ", ".join(addresses)),
                    "ask from another machine what it is there: walt-vpn-check http://%s" % name)
    elif foreign:
        report.note("%s is %s, which is no address of this machine" % (name, ", ".join(foreign)),
                    "right if a router or another server passes port 80 on to this one; else mend the DNS")
    else:
        report.ok("%s is %s, of this machine" % (name, ", ".join(addresses)))


def problem_there(answer, expected):
    """(what is wrong with the answer of an address, the remedy), or None."""
    if answer.status == 401:
        return answer.problem, "nodes have no password: " + LET_IN
    if answer.status == 403:
        return answer.problem, "let nodes and this machine in: %s; the error log (AH01630) has the refusal" % LET_IN
    if answer.status >= 500:
        return answer.problem, "look at the error log of httpd, and at the WalT server"
    if answer.problem:
        return (answer.problem + ": this is not the entrypoint",
                "another site takes the name or the port; see which is first for it: apachectl -S")
    if expected and answer.name != expected:
        return ("it says %s, and the WalT server %s: this is not its entrypoint" % (answer.name, expected),
                "another site takes the name or the port; see which is first for it: apachectl -S")
    return None


def check_address(address, port, name, walt, options):
    """(verdict, text, remedy) of asking one address for the entrypoint; of a good one the remedy is None.

    walt: the Answer that the WalT server itself gave, or None where it gave none or is not known. Where it is no WalT server,
    the entrypoint passes on what it says.
    """
    where = at(address, port)
    expected = walt and walt.name
    try:
        answer = questions.ask(address, port, name, options.timeout)
    except questions.Unanswered as problem:
        text = "%s, %s: %s" % (name, where, problem)
        if not problem.reached:
            return (Verdict.CRITICAL, text,
                    "start httpd, let it \"Listen %d\", and open the firewall for that port" % port)
        if not expected:
            return Verdict.UNKNOWN, text, "ask again when the WalT server answers"
        return Verdict.CRITICAL, text, "see what listens there: ss -ltnp sport = :%d" % port
    problem = problem_there(answer, expected)
    if problem and walt and walt.problem:
        return Verdict.UNKNOWN, "%s, %s: %s" % (name, where, answer.problem), \
            "ask again when %s" % ("the WalT server answers" if walt.status >= 500 else "WaltVpnServer is mended")
    if problem and answer.status >= 500 and not walt:
        return Verdict.UNKNOWN, "%s, %s: %s" % (name, where, problem[0]), "ask again when the WalT server answers"
    if problem:
        return Verdict.CRITICAL, "%s, %s: %s" % (name, where, problem[0]), problem[1]
    text = "%s, %s, says %s in %.3f s" % (name, where, answer.name, answer.seconds)
    return Verdict.OK, text + (", as the WalT server does" if expected else ""), None


def listened_on(listens, port, seconds):
    """Where Listen lines have httpd listen on this port, as addresses or "" for all. They may have names, too."""
    found = set()
    for where in {where for where, number in listens if number == port}:
        try:
            found.update(questions.resolve(where, seconds) if where else [""])
        except questions.Unresolved:
            continue            # httpd would not start with it
    return found


def is_listening(address, listened):
    """Is this address among them? IPv4 comes through [::], too."""
    return bool(listened & ({"", "::", address} if ":" in address else {"", "::", "0.0.0.0", address}))


def check_port(report, name, addresses, walt, configuration, options):
    """Asks each address of this machine for the entrypoint by name, and those of the name; returns one that leads to it."""
    own = questions.own_addresses()
    mine = [address for address in addresses if address in own or questions.is_loopback(address)]
    listened = listened_on(configuration.listens, options.port, options.timeout)
    others = [address for address in own if address not in mine and is_listening(address, listened)]
    if not mine and not others:
        report.critical("nothing in httpd's configuration listens on port %d, which nodes ask" % options.port,
                        "write \"Listen %d\" (in Debian in /etc/apache2/ports.conf); where it is passed on to another "
                        "port, say that one with --port" % options.port)
    results = {address: check_address(address, options.port, name, walt, options)
               for address in dict.fromkeys(mine + others + addresses)}
    good = [address for address in results if results[address][0] is Verdict.OK]
    # What nodes come by: the name's address. Where a router passes them on, or only this machine's hosts file knows the name,
    # it may be any that is not loopback's.
    gates = [address for address in mine if not questions.is_loopback(address)] \
        or [address for address in others if not questions.is_loopback(address)] or mine + others
    for address, (verdict, text, remedy) in results.items():
        if verdict is not Verdict.OK and address not in mine + others:
            verdict = Verdict.NOTE if set(good) & set(addresses) else Verdict.UNKNOWN
            remedy = "ask from another machine: walt-vpn-check http://%s" % name
        elif verdict is not Verdict.OK and (address not in gates or set(good) & set(gates)
                                            and (":" in address or address in others)):
            verdict = Verdict.NOTE
        report.say(verdict, text, remedy)
    return next((address for address in gates + list(results) if address in good), None)


def check_aliases(report, entrypoint, address, walt, options):
    """Asks for the other names where the first one leads to the entrypoint. That one does not resolve may be meant so."""
    for alias in entrypoint.aliases:
        verdict, text, remedy = check_address(address, options.port, questions.in_host_line(alias), walt, options)
        report.say(verdict, text, remedy)
        try:
            questions.resolve(alias, options.timeout)
        except questions.Unresolved as problem:
            report.note("%s does not resolve: %s" % (alias, problem),
                        "if nodes use it, have an address entered for it in the DNS")


# ------------------------------------------------------------------ the cache

def check_folder(report, entrypoint, user):
    """How full the folder is. That httpd can use it is known: it would have refused its configuration."""
    folder = entrypoint.folder
    if not folder:
        report.note("no cache folder: each image is relayed from the WalT server for each node",
                    'write "WaltVpnCacheRoot /var/cache/apache2/walt_vpn" (on Fedora /var/cache/httpd/walt_vpn) in %s'
                    % entrypoint.place.rpartition(":")[0])
        return
    what = "cache folder %s" % folder.path
    try:
        free = image_folder.free(folder.path)
        contents = image_folder.contents(folder.path)
    except FileNotFoundError:
        report.note("%s is not there" % what, "httpd makes it when it starts")
    except OSError as problem:
        report.note("%s can be used; how full it is only root and %s may see (%s)" % (what, user, problem.strerror),
                    "type: sudo walt-vpn-check")
    else:
        tell_room(report, what, folder, contents, free)


def tell_room(report, what, folder, contents, free):
    number = len(contents.images)
    text = "%s: %d image%s, %.0f of %.0f MiB, and %.0f MiB free on its disk" % (
        what, number, "" if number == 1 else "s", contents.bytes / MIB, folder.size / MIB, free / MIB)
    largest = max(contents.images.values(), default=0)
    report.figure("cache", "%dB;;;0;%d" % (contents.bytes, folder.size))
    if free < min(largest, folder.size - contents.bytes):
        report.note(text, "there is no room for another image like the largest: it will be relayed; make some")
    else:
        report.ok(text)


# ------------------------------------------------------------------ nodes

def boot_node(report, address, port, host, node, options, known=(), lost_links=None):
    """Boots one emulated node; returns its Boot. lost_links: where it loses its link on purpose, as BootClient takes it."""
    boot = BootClient(address, port, node, host, options.patience, options.limit, options.rate, lost_links).boot(known)
    story = ["%s from byte %d: status %d" % reply for reply in boot.replies]
    late = bool(options.watchdog) and boot.image_sha256 not in known and tell_watchdog(report, boot, options.watchdog, story)
    text = "\n".join([str(boot)] + story + (["and so on"] if len(story) == MOST_REPLIES else []))
    if late:
        report.critical(text, MORE_TIME % node)
    elif boot.booted:
        report.ok(text)
    elif boot.outcome is Outcome.UNDECIDED:
        report.unknown(text, REMEDIES[boot.outcome])
    else:
        report.critical(text, MERE_PROXY if resumed_from_the_start(boot) else
                        remedy_for_404(boot, address, port, host, options.timeout) if boot.outcome is Outcome.HTTP_ERROR else
                        REMEDIES[boot.outcome])
    return boot


def remedy_for_404(boot, address, port, host, seconds):
    """It has several causes, which the node's other file tells apart."""
    other = "boot.img" if boot.file == "boot.sig" else "boot.sig"
    try:
        path = "/walt-vpn/per-ip/%s/%s" % (boot.node.replace(".", "-"), other)
        status = questions.ask(address, port, host, seconds, "HEAD " + path, questions.read_status)
    except questions.Unanswered as problem:     # a 404 comes at once, and a HEAD of an image when it has been fetched
        status = 200 if problem.reached else None
    return (ONE_FILE if status == 200 else NO_FILE) % other


def tell_watchdog(report, boot, watchdog, story):
    """Adds to the story what a watchdog of so many seconds would have done. Is that what keeps the board from booting?"""
    if boot.booted:
        report.figure("boot_" + boot.node, "%.3fs;;%g" % (boot.seconds, watchdog))
    if boot.seconds > watchdog and (boot.booted or boot.outcome is Outcome.UNDECIDED):
        story.insert(0, "too late: its watchdog resets it after %g s, and it starts over" % watchdog)
        return True
    if boot.booted:
        story.insert(0, "in time: its watchdog gives the whole boot %g s, %.1f s more" % (watchdog, watchdog - boot.seconds))
    elif boot.outcome in STAYS_ON:
        story.insert(0, "its watchdog resets it after %g s, and it starts over" % watchdog)
    return False


def resumed_from_the_start(boot):
    """Was it sent the whole file in answer to a resume? mod_walt_vpn never does that."""
    return any(first and status == 200 for _, first, status in boot.replies)


def check_nodes(report, address, port, host, options, folder=None):
    """Boots --node, and warms for --warm: an image that several nodes boot is downloaded once.

    While nothing breaks a mere proxy looks as good as mod_walt_vpn, so --node loses its link once. --warm does not: it is
    after images, and resumes tell nothing of them.
    """
    if options.node:
        boot_node(report, address, port, host, options.node, options, lost_links={"boot.img": [LOST_AT]})
    known = set()
    for node in options.warm or ():
        boot = boot_node(report, address, port, host, node, options, known)
        if boot.booted:
            known.add(boot.image_sha256)
    if known and folder:
        tell_kept(report, folder, known, options.timeout)


def tell_kept(report, folder, digests, seconds):
    """Whether what was warmed is in the folder, where that can be seen. A node may have its image a moment before that."""
    deadline = time.monotonic() + seconds
    try:
        while digests - set(image_folder.contents(folder.path).images) and time.monotonic() < deadline:
            time.sleep(0.1)
        missing = digests - set(image_folder.contents(folder.path).images)
    except OSError:
        return
    if missing:
        report.critical("not in %s: %s" % (folder.path, short_names(missing)),
                        "look at the error log of httpd, and whether WaltVpnCacheSize is large enough")
    else:
        report.ok("in %s now: %s" % (folder.path, short_names(digests)))


def short_names(digests):
    """As the log has them."""
    return ", ".join(digest[:12] for digest in sorted(digests))
