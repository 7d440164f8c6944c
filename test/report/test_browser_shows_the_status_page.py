"""A real browser takes the status page in the middle of a storm of nodes, and shows what the nodes saw."""

import contextlib

import pytest

import browser
import status_page
from fleet import Fleet

MIB = 1 << 20


@pytest.fixture(autouse=True)
def chromium():
    if not browser.chromium():
        pytest.skip("chromium is not installed")


@pytest.fixture
def storm(entrypoint, walt, cache):
    """(entrypoint, boots of nodes that are through) while slow nodes download on."""
    walt.set_image(mib=8)
    ours = entrypoint(vhost=status_page.LOCATION, modules=status_page.MODULES, cache=cache.path,
                      server="SendBufferSize 65536")
    boots = Fleet(ours, 12).boots()
    boots += Fleet(ours, ["192.168.5.1"], lost_links={"boot.img": [3 * MIB]}).boots()
    assert all(boot.booted for boot in boots)
    with contextlib.ExitStack() as nodes:
        for number in range(1, 6):
            path = "/walt-vpn/per-ip/192-168-6-%d/boot.img" % number
            nodes.enter_context(status_page.SlowNode(ours, path)).take(MIB)
        status_page.await_page(ours, lambda page: page.counts["Nodes downloading now"] == 5 and page.counts["Last boots"] == 13,
                               what="the storm")
        yield ours, boots


def url_of(httpd):
    return "http://127.0.0.1:%d/server-status" % httpd.port


def test_the_dom_says_what_the_nodes_saw(storm):
    """Nodes, sizes, resumes and progress, read from the page as the browser understood it."""
    ours, boots = storm
    text = browser.dom(url_of(ours))
    page, = status_page.read_html(text)[0]
    assert {row["Node"]: (row["Size"], row["Resumes"], row["Image"]) for row in page.tables["Last boots"]} == {
        boot.node: (str(8 * MIB), str(boot.resumes), boot.image_sha256[:12]) for boot in boots}
    downloads = page.tables["Nodes downloading now"]
    assert sorted(row["Node"] for row in downloads) == ["192.168.6.%d" % number for number in range(1, 6)]
    for row in downloads:
        assert 0 <= int(row["Progress"]) < 100 and row["Size"] == str(8 * MIB)
    # What the lost link took with it was counted as far as it had arrived when that was last looked at.
    assert page.number("Sent to nodes") > sum(boot.bytes for boot in boots) - MIB
    assert page.number("From the WalT server") < 9 * MIB and page.number("Saved by the cache") > 95 * MIB


@pytest.mark.thorough
def test_what_the_browser_understands_is_what_was_sent(storm):
    """Where nothing moves, the DOM has the values of the page as it came over the wire: the HTML needs no repair."""
    ours, _ = storm
    (sent,), (understood,) = (status_page.read_html(text)[0] for text in
                              (status_page.page(ours), browser.dom(url_of(ours))))
    assert understood.tables["Last boots"] == sent.tables["Last boots"]
    # Who reads on of an image uses it.
    understood_images, images = ([dict(row, **{"Last use": ""}) for row in page.tables["Images in the cache folder"]]
                                 for page in (understood, sent))
    assert understood_images == images and len(images) == 1
    assert list(understood.summary) == list(sent.summary) and list(understood.counts) == list(sent.counts)


@pytest.mark.thorough
def test_a_phone_shows_something(storm):
    """At a phone's width the picture is as wide as the phone, and not blank."""
    ours, _ = storm
    picture = browser.picture(url_of(ours), width=390, height=844)
    assert picture.width == 390 and len(set(picture.rows)) > 100
