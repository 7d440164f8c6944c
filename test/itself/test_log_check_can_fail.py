"""The checks at the end of every test do object, and to nothing that was announced."""

import os

import pytest

from httpd import log_objections

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAMP = "[Sun Nov 22 21:53:24.572259 2026] "


@pytest.mark.parametrize("line, objectionable", [
    (STAMP + "[proxy_http:error] [pid 1:tid 2] AH01110: error reading response", True),
    (STAMP + "[walt_vpn:warn] [pid 1:tid 2] the folder is full", True),
    (STAMP + "[core:notice] [pid 1:tid 1] AH00051: child pid 7 exit signal Segmentation fault (11)", True),
    ("==7==ERROR: AddressSanitizer: heap-use-after-free", True),
    (STAMP + "[walt_vpn:notice] [pid 1:tid 2] entrypoint of walt.example.org", False),
    (STAMP + "[walt_vpn:info] [pid 1:tid 2] refused", False),
    (STAMP + "[walt_vpn:trace4] [pid 1:tid 2] asked", False),
])
def test_level(line, objectionable):
    assert log_objections(line) == ([line] if objectionable else [])


def test_announced_line_passes_and_a_missing_one_does_not():
    line = STAMP + "[walt_vpn:warn] [pid 1:tid 2] the folder is full"
    assert log_objections(line, ["folder is full"]) == []
    assert log_objections("", ["folder is full"]) == ["expected, but missing: folder is full"]
    assert log_objections("", [], ["folder is full"]) == []
    assert log_objections(line, [], ["folder is full"]) == []


def test_a_crash_is_never_tolerated():
    for line in (STAMP + "[core:notice] [pid 1:tid 1] AH00051: child pid 7 exit signal Segmentation fault (11)",
                 "==7==ERROR: AddressSanitizer: heap-use-after-free"):
        assert log_objections(line, [], [""]) == [line]
        assert log_objections(line, ["Segmentation|Sanitizer"]) == []


def test_a_crash_is_allowed_where_httpd_itself_crashes():
    line = STAMP + "[core:notice] [pid 1:tid 1] AH00052: child pid 7 exit signal Segmentation fault (11)"
    assert log_objections(line, [], [], True) == []
    assert log_objections("==7==ERROR: AddressSanitizer: heap-use-after-free", [], [], True) != []


BAD_TESTS = """
    DEAD_END = 'ProxyPass "/" "http://127.0.0.1:1/"'

    def test_unannounced_error(httpd):
        assert httpd(DEAD_END, modules=["proxy", "proxy_http"]).get("/").status == 503

    def test_announced_error(httpd):
        server = httpd(DEAD_END, modules=["proxy", "proxy_http"])
        server.expect_log("AH00957.*127.0.0.1:1")
        server.expect_log("AH01114")
        assert server.get("/").status == 503

    def test_unannounced_harm(walt):
        import wire
        wire.exchange(walt.port, wire.request("/walt-vpn/per-ip/192-168-152-7/", "x"))

    def test_announced_harm(walt):
        import wire
        walt.expect_danger("directory")
        wire.exchange(walt.port, wire.request("/walt-vpn/per-ip/192-168-152-7/", "x"))
"""


def test_real_errors_and_real_harm_fail_their_tests(request, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    # pytest 6.0, as in Debian 11, knows it by its older name.
    known = [int(number) for number in pytest.__version__.split(".")[:2]] >= [6, 2]
    pytester = request.getfixturevalue("pytester" if known else "testdir")
    pytester.makepyfile(BAD_TESTS)
    result = pytester.runpytest_subprocess("-p", "conftest", "-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*ERROR*test_unannounced_error*", "*ERROR*test_unannounced_harm*"])
