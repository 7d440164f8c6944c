"""A long or an uneven way to the WalT server must not turn the line into a few nodes a second."""

import concurrent.futures
import time

import pytest

from questions import Question, boot_sig, most_at_once, nodes
from stand_in import COMING, RELEASED

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


def ask_at_once(httpd, count):
    questions = [Question(httpd, node, client="127.0.0.%d" % (number % 40 + 2)) for number, node in enumerate(nodes(count))]
    assert [question.wait().reply.status for question in questions] == [200] * count


def test_an_uneven_way(entrypoint, walt):
    """A slow reply now and then does not narrow the line."""
    httpd = entrypoint()
    takes = {boot_sig(node): 0.3 if number % 20 == 9 else 0.02 + number * 37 % 100 / 1000 for number, node in enumerate(nodes(120))}
    for path, seconds in takes.items():
        walt.fault(path, "silence", at_byte=None, times=None, seconds=seconds)
    ask_at_once(httpd, 120)
    assert most_at_once(walt.requests("boot.sig"), lambda request: takes[request.target]) >= 12


@pytest.mark.parametrize("version, connecting, more", [(RELEASED, 0, False), (RELEASED, 0.3, True), (COMING, 0, True)],
                         ids=["computed", "as long as to connect", "a file"])
def test_a_slow_answer_that_was_not_computed(version, connecting, more, entrypoint, walt, calls):
    """One that has not taken longer than the way there, or that is of a file, has queued on a full link."""
    httpd = entrypoint()
    walt.play(version)
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=0.4)
    if connecting:
        calls.delay("connect", connecting)
    ask_at_once(httpd, 40)
    assert (most_at_once(walt.requests("boot.sig"), lambda request: 0.36) > 4) == more


