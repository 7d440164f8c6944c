"""What many want to know of one node at the same time, the WalT server is asked for once, and never before they came."""

import pytest

from processes import wait_until
from questions import Question, ask, boot_sig, nodes
from stand_in import COMING, VERSIONS

pytestmark = pytest.mark.walt_versions(*VERSIONS)

SLOW = 0.6
NODE = "10.5.0.1"


def hold(httpd, walt, net="10.9.0", seconds=SLOW):
    """All places of the line are held by questions for other nodes."""
    walt.fault("boot.sig", "silence", at_byte=None, times=4, seconds=seconds)
    held = [Question(httpd, node, client="127.0.0.%d" % (20 + number)) for number, node in enumerate(nodes(4, net))]
    wait_until(lambda: len(walt.requests("boot.sig")) >= 4, what="the questions that hold the line")
    return held


def asked(walt):
    return len(walt.requests(boot_sig(NODE)))


def test_those_who_wait_for_the_same_share_it(entrypoint, walt, walt_version):
    """Also with those whose client has no share of the line left, and in other processes."""
    httpd = entrypoint()
    hold(httpd, walt, seconds=1)
    questions = ask(httpd, [NODE] * 20)
    replies = [question.wait().reply for question in questions]
    assert len({(reply.status, reply.body) for reply in replies}) == 1 and replies[0].status == 200
    assert {reply.header("Content-Type") for reply in replies} == {
        "application/pgp-signature" if walt_version == COMING else "text/html; charset=UTF-8"}
    assert len({reply.header("Last-Modified") for reply in replies}) == 1
    assert (replies[0].header("Last-Modified") is None) == (walt_version != COMING)
    assert asked(walt) <= 2, "one for all who had come; on a busy machine the last ones may come later"


def test_a_404_is_an_answer(entrypoint, walt):
    httpd = entrypoint()
    hold(httpd, walt, seconds=1)
    walt.fault(boot_sig(NODE), "status", status=404, times=None)
    replies = [question.wait().reply for question in ask(httpd, [NODE] * 8)]
    assert [reply.status for reply in replies] == [404] * 8
    assert asked(walt) <= 2


@pytest.mark.parametrize("status", [400, 403])
def test_an_error_that_may_be_about_the_request_is_not_shared(entrypoint, walt, status):
    """One of them asks in a way that the WalT server, or what stands before it, dislikes: nobody else has to hear of it."""
    httpd = entrypoint()
    hold(httpd, walt, seconds=1)
    walt.fault(boot_sig(NODE), "status", status=status)
    replies = [question.wait().reply for question in ask(httpd, [NODE] * 8)]
    assert sorted(reply.status for reply in replies) == [200] * 7 + [status]


def test_a_stranger_spoils_no_answer(entrypoint, walt):
    """The WalT server does not read a request of more than 100 header lines."""
    httpd = entrypoint()
    hold(httpd, walt, seconds=1)
    ask(httpd, [NODE] * 8, client="127.0.0.9", headers=[("X-%d" % number, "y") for number in range(97)])
    assert [question.wait().reply.status for question in ask(httpd, [NODE] * 8)] == [200] * 8


def test_an_answer_is_as_fresh_as_ones_own(entrypoint, walt):
    """One that was asked for before they came is not theirs: the node's image may have changed between."""
    httpd = entrypoint()
    old = walt.set_image(NODE, "old", 1)
    walt.fault(boot_sig(NODE), "silence", at_byte=None, times=1, seconds=SLOW)
    held, = ask(httpd, [NODE])
    wait_until(lambda: walt.requests(boot_sig(NODE)), what="the question")
    new = walt.set_image(NODE, "new", 1)
    late = ask(httpd, [NODE] * 4)
    assert all(question.wait().reply.body.startswith(new.encode()) for question in late)
    assert held.wait().reply.status == 200 and old != new


def test_other_nodes_get_their_own(entrypoint, walt):
    httpd = entrypoint()
    digests = {node: walt.set_image(node, "of " + node, 1) for node in nodes(4)}
    hold(httpd, walt, "10.9.0.1")
    for node, question in zip(digests, ask(httpd, digests)):
        assert question.wait().reply.body.startswith(digests[node].encode())


def test_a_large_answer_is_not_kept(entrypoint, walt):
    """What no boot.sig can be is asked for by each."""
    httpd = entrypoint()
    body = "a" * 64 + "\n" + "x" * 4935
    hold(httpd, walt, seconds=1)
    walt.fault(boot_sig(NODE), "raw", times=None, reply="HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + body)
    assert [question.wait().reply.body for question in ask(httpd, [NODE] * 3)] == [body.encode()] * 3
    assert asked(walt) == 3
