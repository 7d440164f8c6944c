"""Nodes do not speak HTTP/2; who does is told of a broken download, too, rather than left waiting."""

import subprocess

from processes import wait_until

IMAGE = "/walt-vpn/per-ip/192-168-152-7/boot.img"


def fetch(ours):
    """curl's exit status, and how many bytes it got."""
    done = subprocess.run(["curl", "-sS", "--max-time", "20", "--http2-prior-knowledge", "-H", "Host: " + ours.server_name,
                           "http://127.0.0.1:%d%s" % (ours.port, IMAGE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, len(done.stdout)


def test_a_download_that_breaks_off_ends_with_a_reset_stream(entrypoint, walt):
    """curl calls it 92, "stream error", or 18, "partial file", in Debian 11; 28 would be its patience, and 0 a file that it
    takes for whole."""
    ours = entrypoint(vhost="Protocols h2c http/1.1", modules=("http2", "proxy", "proxy_http", "walt_vpn"))
    ours.tolerate_log(r"\[proxy(_http)?:error\]")
    assert fetch(ours) == (0, 1 << 20)
    wait_until(lambda: "has image" in ours.error_log, what="the line about a whole download")
    assert "1048576 bytes" in ours.error_log and "ended short" not in ours.error_log
    walt.fault("boot.img", "fin", at_byte=1 << 19)
    status, received = fetch(ours)
    assert status in (18, 92) and received < 1 << 20
    assert fetch(ours) == (0, 1 << 20)
