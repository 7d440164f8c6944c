"""One client address has eight questions in the line at most: however many it asks, nodes have their turn soon."""

from processes import wait_until
from questions import ask, nodes

SLOW = 0.3
STRANGER, NODES = "127.0.0.2", "127.0.0.1"


def test_nodes_have_their_turn(entrypoint, walt):
    """60 questions of a stranger take 18 s."""
    httpd = entrypoint()
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=SLOW)
    strange = ask(httpd, nodes(60, "10.9.0"), client=STRANGER)
    wait_until(lambda: len(walt.requests("boot.sig")) >= 2, what="the stranger's first questions")
    ours = ask(httpd, nodes(5), client=NODES)
    assert [question.wait().reply.status for question in ours] == [200] * 5
    assert max(question.seconds for question in ours) < 9
    assert len(walt.requests("10-9-0-")) < 40, "or the stranger was just quick"
    walt.heal()
    assert {question.wait().reply.status for question in strange} == {200}, "nobody is turned away"


def test_a_fleet_behind_one_address_is_served(entrypoint, walt):
    """And as fast as the line flows, when nobody else asks."""
    httpd = entrypoint()
    questions = ask(httpd, nodes(60), client=NODES)
    assert {question.wait().reply.status for question in questions} == {200}
    assert max(question.seconds for question in questions) < 8
