"""Questions for boot.sig, asked at the same time, each over a connection of its own."""

import threading
import time

import wire


def boot_sig(node):
    return "/walt-vpn/per-ip/%s/boot.sig" % node.replace(".", "-")


class Question:
    """One: .reply when it is over, .seconds that it took. client: the address that it comes from."""

    def __init__(self, entrypoint, node, client="", host=None, patience=60, headers=()):
        self.reply = None
        self.seconds = None
        self.connection = wire.Wire(entrypoint.port, timeout=patience, client=client)
        self.began = time.monotonic()
        self.connection.send(wire.request(boot_sig(node), host or entrypoint.server_name, headers=headers))
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        with self.connection:
            reply = self.connection.rest()
        self.seconds = time.monotonic() - self.began
        self.reply = reply

    def wait(self, seconds=60.0):
        self.thread.join(seconds)
        assert self.reply is not None, "no reply within %g s" % seconds
        return self


def ask(entrypoint, nodes, **options):
    return [Question(entrypoint, node, **options) for node in nodes]


def nodes(count, net="10.1.0"):
    return ["%s.%d" % (net, number) for number in range(1, count + 1)]


def most_at_once(requests, seconds):
    """How many were being answered at the same time. seconds: that a request took."""
    starts = [request.time for request in requests]
    ends = [request.time + seconds(request) for request in requests]
    return max(sum(start <= moment for start in starts) - sum(end <= moment for end in ends) for moment in starts)


def gaps(requests):
    """Seconds between one request and the next, as the WalT server received them."""
    times = sorted(request.time for request in requests)
    return [later - earlier for earlier, later in zip(times, times[1:])]
