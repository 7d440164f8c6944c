"""One client has two questions in single file and eight in a wide line: however many it asks, nodes have their turn soon."""

import time

import pytest

from httpd import ENTRYPOINT
from questions import ask, nodes

SLOW = 0.3
STRANGER, NODES = "127.0.0.2", "127.0.0.1"

# A proxy in front of httpd, which tells whose request it is.
BEHIND = dict(modules=("remoteip",) + ENTRYPOINT, server="RemoteIPHeader X-Client\nRemoteIPInternalProxy 127.0.0.2")


def trickle(httpd, addresses, client, header=None):
    questions = []
    for number, address in enumerate(addresses):
        headers = [("X-Client", header.replace("%x", "%x" % number))] if header else ()
        questions += ask(httpd, [address], client=client, headers=headers)
        time.sleep(0.007)
    return questions


@pytest.mark.parametrize("options, header", [({}, None), (BEHIND, "203.0.113.9"), (BEHIND, "2001:db8::%x")],
                         ids=["directly", "behind a proxy", "from a network of IPv6"])
def test_nodes_have_their_turn(options, header, entrypoint, walt):
    """60 questions of a stranger take 18 s. Both come as chance will have it: who sleeps in the line looks up now and then."""
    httpd = entrypoint(**options)
    assert ask(httpd, nodes(1))[0].wait().reply.status == 200
    walt.fault("boot.sig", "silence", at_byte=None, times=None, seconds=SLOW)
    strange = trickle(httpd, nodes(60, "10.9.0"), STRANGER, header)
    ours = trickle(httpd, nodes(5), NODES)
    assert [question.wait().reply.status for question in ours] == [200] * 5
    assert len(walt.requests("10-9-0-")) < 40, "the stranger's that went before"
    walt.heal()
    assert {question.wait().reply.status for question in strange} == {200}, "nobody is turned away"


def test_a_fleet_behind_one_address_is_served(entrypoint, walt):
    """And as fast as the line flows, when nobody else asks."""
    httpd = entrypoint()
    questions = ask(httpd, nodes(60), client=NODES)
    assert {question.wait().reply.status for question in questions} == {200}
    assert max(question.seconds for question in questions) < 20
