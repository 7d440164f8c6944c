"""The stand-in WalT server from the command line."""

import signal
import subprocess
import sys

import pytest

import processes
import wire
from boot_client import BootClient
from stand_in import PROGRAM


@pytest.fixture
def standalone():
    """A stand-in WalT server as a user would start it, and its port."""
    port = processes.free_port()
    program = processes.spawn([sys.executable, "-B", PROGRAM, "--port", str(port), "--image-mib", "2"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert "http://127.0.0.1:%d/walt-vpn/" % port in program.stdout.readline()
    yield program, port
    processes.end(program)


def test_boots_a_node(standalone):
    _, port = standalone
    assert BootClient("127.0.0.1", port).boot().booted
    assert wire.exchange(port, wire.request("/walt-vpn/server", "x")).body == b"walt.example.org\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_without_a_word(standalone, number):
    program, _ = standalone
    program.send_signal(number)
    assert program.wait(5) == 0
    assert program.stdout.read() == ""


def test_says_that_its_port_is_taken(standalone):
    _, port = standalone
    second = subprocess.run([sys.executable, "-B", PROGRAM, "--port", str(port)], timeout=20,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert second.returncode == 1
    assert second.stdout == "port %d of 127.0.0.1: Address already in use\n" % port
