"""walt-server-setup's check of a new entrypoint: 2 s a try, three tries, repeated after a timeout only."""

import pytest

from setup_check import setup_check

SERVER = "/walt-vpn/server"


def check(entrypoint, walt):
    return setup_check("127.0.0.1:%d" % entrypoint.port, walt.fqdn, entrypoint.server_name)


def test_passes(entrypoint, walt):
    assert check(entrypoint(), walt) is None
    assert len(walt.requests(SERVER)) == 1


def test_by_address(entrypoint, walt):
    assert setup_check("127.0.0.1:%d" % entrypoint(server_name="127.0.0.1").port, walt.fqdn) is None


def test_by_name(entrypoint, walt):
    assert setup_check("localhost:%d" % entrypoint(server_name="localhost").port, walt.fqdn) is None


def test_fails_at_once_when_the_walt_server_is_down_and_passes_as_soon_as_it_is_up(entrypoint, walt):
    ours = entrypoint()
    ours.expect_log("AH00957.*attempt to connect")
    ours.tolerate_log("AH01114")
    walt.down()
    assert check(ours, walt) == "status 503"
    walt.up()
    assert check(ours, walt) is None


def test_passes_in_front_of_a_server_started_anew(entrypoint, walt):
    """No connection to the server that was there before is used, and none of its answers."""
    ours = entrypoint()
    for _ in range(3):
        assert check(ours, walt) is None
        walt.down()
        walt.up()
    assert len(walt.requests(SERVER)) == 3


def test_a_slow_first_answer_is_retried(entrypoint, walt):
    ours = entrypoint()
    ours.tolerate_log("proxy")
    walt.fault(SERVER, "silence", seconds=2.5)
    assert check(ours, walt) is None
    assert len(walt.requests(SERVER)) == 2


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_is_passed_on_and_ends_the_check(entrypoint, walt, status):
    walt.fault(SERVER, "status", status=status)
    assert check(entrypoint(), walt) == "status %d" % status
    assert len(walt.requests(SERVER)) == 1
