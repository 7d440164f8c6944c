"""A WalT server that is down or silent costs those in the line its worker's timeout once, not each of them."""

import socket

import pytest

from processes import wait_until
from proxies import hasty
from questions import Question, ask, nodes
from stand_in import COMING


@pytest.fixture
def deaf():
    """host:port of one that no connection is made to: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        try:
            for _ in range(4):
                filler = socket.socket()
                fillers.append(filler)
                filler.settimeout(0.3)
                try:
                    filler.connect(listener.getsockname())
                except OSError:
                    break
            yield "127.0.0.1:%d" % listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.thorough
def test_silent(entrypoint, walt):
    """Each question is tried three times, 2 s each; they fail together."""
    httpd = entrypoint(vhost=hasty(walt.location, 2))
    httpd.tolerate_log("proxy|was answered with 50")
    walt.fault("boot.sig", "silence", at_byte=None, times=None)
    questions = ask(httpd, nodes(12))
    assert {question.wait().reply.status for question in questions} <= {502, 504}
    assert max(question.seconds for question in questions) < 14
    assert len(walt.requests("boot.sig")) <= 6, "not 36"


def test_not_to_be_connected_to(entrypoint, walt, deaf):
    httpd = entrypoint(vhost=hasty(deaf, 2), start=False)
    httpd.vhost = httpd.vhost.replace(walt.location, deaf)
    httpd.tolerate_log("proxy|was answered with 503")
    httpd.start()
    questions = ask(httpd, nodes(10))
    assert {question.wait().reply.status for question in questions} == {503}
    assert max(question.seconds for question in questions) < 8, "not 20"


@pytest.mark.thorough
def test_an_error_after_a_while(entrypoint, walt):
    """The WalT server's own 500 comes after some seconds: it is that of those who waited for it, and who ask again together."""
    httpd = entrypoint()
    httpd.tolerate_log("was answered with 500")
    walt.fault("boot.sig", "status", status=500, seconds=2, times=None)
    questions = ask(httpd, nodes(10))
    assert {question.wait().reply.status for question in questions} == {500}
    assert max(question.seconds for question in questions) < 12, "not 20"
    assert len(walt.requests("boot.sig")) <= 6


def test_refused_at_once(entrypoint, walt):
    """That costs nobody anything, and the first one after it is up again is answered."""
    httpd = entrypoint()
    httpd.tolerate_log("proxy|was answered with 503")
    walt.down()
    questions = ask(httpd, nodes(20))
    assert {question.wait().reply.status for question in questions} == {503}
    assert max(question.seconds for question in questions) < 5
    walt.up()
    question, = ask(httpd, nodes(1))
    assert question.wait().reply.status == 200


def test_one_node_that_is_not_answered_is_not_the_others_trouble(entrypoint, walt):
    """Its failures are not theirs: the WalT server answers them meanwhile, one after the other."""
    httpd = entrypoint(vhost=hasty(walt.location, 1))
    httpd.tolerate_log("proxy|was answered with 50")
    assert ask(httpd, nodes(1))[0].wait().reply.status == 200
    walt.fault("10-9-0-", "silence", at_byte=None, times=None)
    walt.fault("10-1-0-", "silence", at_byte=None, times=None, seconds=0.2)
    bad = ask(httpd, nodes(2, "10.9.0"))
    wait_until(lambda: walt.requests("10-9-0-"), what="the question")
    others = [Question(httpd, node, client="127.0.0.8") for node in nodes(16)]
    assert {question.wait().reply.status for question in others} == {200}
    assert max(question.seconds for question in others) < 8
    assert {question.wait().reply.status for question in bad} <= {502, 504}


@pytest.mark.thorough
def test_files_that_are_never_answered_hold_nobody_up_for_long(entrypoint, walt):
    """Four of them, asked for from two addresses, have all places at first: for 8 s of the worker's 20 s."""
    httpd = entrypoint()
    httpd.tolerate_log("proxy|was answered with 50")
    walt.fault("10-9-0-", "silence", at_byte=None, times=None)
    bad = [Question(httpd, node, client="127.0.0.%d" % (2 + number % 2)) for number, node in enumerate(nodes(4, "10.9.0"))]
    wait_until(lambda: len(walt.requests("10-9-0-")) == 4, what="the questions")
    others = [Question(httpd, node, client="127.0.0.%d" % (8 + number)) for number, node in enumerate(nodes(5))]
    assert {question.wait().reply.status for question in others} == {200}
    assert max(question.seconds for question in others) < 15, "not 20"
    walt.down()
    assert {question.wait().reply.status for question in bad} == {503}




@pytest.mark.thorough
def test_many_files_that_are_never_answered_leave_room_for_others(entrypoint, walt):
    """A wide line asks for 32 of them, and for 32 more after 8 s. Who comes then has his turn 8 s later, before any has failed."""
    httpd = entrypoint()
    httpd.tolerate_log("proxy|was answered with 50")
    walt.play(COMING)
    walt.fault("10-1-0-", "silence", at_byte=None, times=None, seconds=0.4)
    walt.fault("10-9-0-", "silence", at_byte=None, times=None)
    good = [Question(httpd, node, client="127.0.0.%d" % (2 + number % 30)) for number, node in enumerate(nodes(90))]
    wait_until(lambda: len(walt.requests("10-1-0-")) > 30, what="a wide line")
    bad = [Question(httpd, node, client="127.0.0.%d" % (2 + number % 30)) for number, node in enumerate(nodes(64, "10.9.0"))]
    assert {question.wait().reply.status for question in good} == {200}
    wait_until(lambda: len(walt.requests("10-9-0-")) == 64, seconds=12, what="the questions")
    other = Question(httpd, "10.1.1.1", client="127.0.0.99")
    assert other.wait().reply.status == 200
    assert other.seconds < 8, "not 10"
    walt.down()
    assert {question.wait().reply.status for question in bad} <= {502, 503}
