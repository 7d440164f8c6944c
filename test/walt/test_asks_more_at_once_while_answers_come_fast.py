"""A long way to the WalT server must not turn the line into a few nodes a second; and a slow answer ends it at once."""

import pytest

import concurrent.futures
import time

from questions import Question, gaps, nodes

WAY = 0.1           # seconds of an answer where a round trip takes 50 ms: one to connect, one to ask
QUESTIONS = 150


def take_turns(httpd, count, clients=16):
    """So many clients ask, each one question after the other; what they got, and how long it took."""
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        statuses = list(pool.map(lambda node: Question(httpd, node).wait().reply.status, nodes(count)))
    return statuses, time.monotonic() - began


def test_a_long_way(entrypoint, walt):
    """One at a time would take 15 s."""
    httpd = entrypoint()
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=WAY)
    statuses, seconds = take_turns(httpd, QUESTIONS)
    print("%.0f a second" % (QUESTIONS / seconds))
    assert statuses == [200] * QUESTIONS
    assert seconds < QUESTIONS * WAY / 2


@pytest.mark.thorough
def test_a_slow_answer_ends_it(entrypoint, walt):
    """Behind those that are under way when answers become slow, nobody is asked beside another one."""
    httpd = entrypoint()
    walt.fault("boot.sig", "silence", at_byte=None, times=60, seconds=WAY)
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=0.5)
    statuses, _ = take_turns(httpd, 84)
    assert statuses == [200] * 84
    slow = sorted(walt.requests("boot.sig"), key=lambda request: request.time)[60:]
    beside = [gap for gap in gaps(slow) if gap < 0.45]
    assert len(beside) <= 16, "only those that were let in as long as answers came fast"
    assert min(gaps(slow[16:])) > 0.45
