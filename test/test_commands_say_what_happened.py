"""The boot client and the stand-in WalT server from the command line."""

import os
import signal
import subprocess
import sys

import pytest

import processes
import wire

HERE = os.path.dirname(os.path.abspath(__file__))


def boot(*arguments):
    run = subprocess.run([sys.executable, "-B", os.path.join(HERE, "boot_client.py"), *arguments], timeout=60,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return run.returncode, run.stdout


@pytest.fixture
def standalone():
    """A stand-in WalT server as a user would start it, and its port."""
    port = processes.free_port()
    program = processes.spawn([sys.executable, "-B", os.path.join(HERE, "walt_server.py"), "--port", str(port),
                               "--image-mib", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert "http://127.0.0.1:%d/walt-vpn/" % port in program.stdout.readline()
    yield program, port
    processes.end(program)


def test_a_booted_node(walt):
    status, text = boot(walt.url, "192.168.152.7")
    assert status == 0
    assert "boot.sig from byte 0: status 200\nboot.img from byte 0: status 200\n" in text
    assert "node 192.168.152.7: booted (1049178 bytes, 0 resumes" in text


def test_a_node_that_hangs(walt):
    walt.fault("boot.img", "fin", at_byte=1000)
    status, text = boot(walt.url, "192.168.152.7")
    assert status == 1 and "node 192.168.152.7: hangs" in text and "closed cleanly" in text


def test_the_host_it_asks_for(walt):
    assert boot(walt.url, "10.0.0.1", "--host", "entrypoint.example.org")[0] == 0
    assert {request.header("host") for request in walt.requests()} == {"entrypoint.example.org"}


def test_nobody_listens():
    status, text = boot("http://127.0.0.1:%d" % processes.free_port(), "192.168.152.7")
    assert status == 1 and "can't reach the entrypoint" in text


def test_a_board_knows_no_https():
    status, text = boot("https://127.0.0.1", "192.168.152.7")
    assert status == 1 and "plain http" in text


def test_standalone_server_boots_a_node(standalone):
    _, port = standalone
    assert boot("http://127.0.0.1:%d" % port, "192.168.152.7")[0] == 0
    assert wire.exchange(port, wire.request("/walt-vpn/server", "x")).body == b"walt.example.org\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_standalone_server_ends_without_a_word(standalone, number):
    program, _ = standalone
    program.send_signal(number)
    assert program.wait(5) == 0
    assert program.stdout.read() == ""


def test_standalone_server_says_that_its_port_is_taken(standalone):
    _, port = standalone
    second = subprocess.run([sys.executable, "-B", os.path.join(HERE, "walt_server.py"), "--port", str(port)], timeout=20,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert second.returncode == 1
    assert second.stdout == "port %d of 127.0.0.1: Address already in use\n" % port
