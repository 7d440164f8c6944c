"""In the line nobody overtakes: when a place is free it is for who has waited longest, whichever process he waits in."""

import time

from processes import wait_until
from questions import Question, nodes

PROCESSES = "StartServers 20\nServerLimit 20\nMaxRequestWorkers 20\nMinSpareServers 1\nMaxSpareServers 20"
STEP = 0.2      # seconds between one free place and the next
PLACES = 4
WAITING = 10


def test_in_the_order_in_which_they_came(entrypoint, walt):
    """Each in a process of its own, which looks now and then."""
    httpd = entrypoint(mpm="prefork", server=PROCESSES)
    httpd.tolerate_log("AH00161")
    walt.fault("10-1-0-", "silence", at_byte=None, times=None, seconds=PLACES * STEP)
    held = []
    for number, node in enumerate(nodes(PLACES, "10.9.0")):
        walt.fault(node.replace(".", "-"), "silence", at_byte=None, times=1, seconds=1 + number * STEP)
        held.append(Question(httpd, node, client="127.0.0.%d" % (number + 2)))
    wait_until(lambda: len(walt.requests("10-9-0-")) == PLACES, what="the questions that hold the line")
    for number, node in enumerate(nodes(WAITING)):
        held.append(Question(httpd, node, client="127.0.0.%d" % (number + 10)))
        time.sleep(0.03)
    assert {question.wait().reply.status for question in held} == {200}
    asked = sorted(walt.requests("10-1-0-"), key=lambda request: request.time)
    order = [int(request.target.split("/")[-2].split("-")[-1]) for request in asked]
    print(order)
    assert all(abs(place - number) <= 2 for place, number in enumerate(order, 1)), "a step or two, on a busy machine"
