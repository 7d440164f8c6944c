"""On a connection that is kept, a failure of the WalT server gets one error and not a byte more."""

import pytest

import wire

PLACE = "/walt-vpn/per-ip/192-168-152-7/"

PATHS = {
    "/walt-vpn/server": "relayed",
    "/walt-vpn/node-conf/x": "relayed, and nothing that firmware reads",
    PLACE + "boot.sig": "asked for by the entrypoint itself",
    PLACE + "boot.img": "relayed without a cache, else begun with boot.sig",
}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_502_is_all_that_is_sent(entrypoint, walt, cache, path, cached):
    """mod_proxy, which tells a broken connection that was kept from a new one, does not add an error of its own."""
    ours = entrypoint(cache=cache.path if cached else "")
    ours.tolerate_log(r"\[proxy(_http)?:error\]")
    with ours.connect() as connection:
        connection.send(wire.request("/walt-vpn/server", ours.server_name, close=False))
        assert connection.reply().status == 200
        walt.fault(".", "fin", times=None)
        connection.send(wire.request(path, ours.server_name, close=False))
        reply = connection.reply()
        assert (reply.status, reply.body) == (502, b"The WalT server's reply was broken.\n")
        walt.heal()
        connection.send(wire.request("/walt-vpn/server", ours.server_name, close=True))
        after = connection.rest()
    assert after.raw == b"" or after.status == 200
    assert " 502 " in ours.access_log and " 500 " not in ours.access_log
