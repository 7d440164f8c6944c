"""A long or an uneven way to the WalT server must not turn the line into a few nodes a second."""

import concurrent.futures
import time

from questions import Question, nodes

WAY = 0.1           # seconds of an answer where a round trip takes 50 ms: one to connect, one to ask
QUESTIONS = 150


def take_turns(httpd, count, clients=16):
    """So many clients ask, each one question after the other; what they got, and how long it took."""
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        statuses = list(pool.map(
            lambda node: Question(httpd, node, client="127.0.0.%d" % (2 + hash(node) % clients)).wait().reply.status, nodes(count)))
    return statuses, time.monotonic() - began


def test_a_long_way(entrypoint, walt):
    """One at a time would take 15 s."""
    httpd = entrypoint()
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=WAY)
    statuses, seconds = take_turns(httpd, QUESTIONS)
    print("%.0f a second" % (QUESTIONS / seconds))
    assert statuses == [200] * QUESTIONS
    assert seconds < QUESTIONS * WAY / 2


