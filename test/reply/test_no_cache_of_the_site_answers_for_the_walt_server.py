"""A site's mod_cache neither keeps nor gives what is below /walt-vpn/: the setup check and nodes see the server as it is now."""

import os

import pytest

from boot_files import boot_sig
from httpd import ENTRYPOINT

PLACE = "/walt-vpn/per-ip/192-168-152-7/"
GREEDY = """\
CacheRoot @DIR@/cache
CacheIgnoreNoLastMod On
CacheIgnoreCacheControl On
CacheStoreNoStore On
CacheStorePrivate On
CacheStoreExpired On
CacheDefaultExpire 3600
CacheMinExpire 3600
CacheMaxFileSize 64000000
"""


@pytest.fixture(params=["CacheQuickHandler on", "CacheQuickHandler off"])
def quick(request):
    return request.param


@pytest.fixture(params=["CacheEnable disk /", "<Location />\nCacheEnable disk\n</Location>"], ids=["server", "Location"])
def enabled(request, quick):
    return "%s\n%s\n" % (request.param, quick)


def greedy_site(httpd, walt, enabled):
    """A relay as WalT documents it, whose cache keeps whatever it may."""
    made = httpd(enabled + relay(walt), server=GREEDY, modules=("cache", "cache_disk") + ENTRYPOINT, start=False)
    os.mkdir(made.folder + "/cache")
    os.chmod(made.folder + "/cache", 0o777)
    return made.start()


def relay(walt):
    return 'ProxyPass "/walt-vpn/" "%s/walt-vpn/"' % walt.url


@pytest.mark.parametrize("images", ["", "WaltVpnCacheRoot @DIR@/images\n"], ids=["relayed", "cached"])
@pytest.mark.thorough
def test_what_it_kept_before_is_not_given(httpd, walt, enabled, images):
    """The site was a relay with a cache until the administrator made it an entrypoint."""
    site = greedy_site(httpd, walt, enabled)
    files = ["/walt-vpn/server", PLACE + "boot.sig", PLACE + "boot.img"]
    for path in files + files:
        assert site.get(path).status == 200
    if "Location" not in enabled:
        assert len(walt.requests()) == len(files), "the cache did not keep them: this test shows nothing"
    walt.clear()
    digest = walt.set_image(image="another")
    site.reconfigure(vhost=enabled + "WaltVpnServer " + walt.location, server=images + GREEDY)
    site.restart()
    for _ in range(2):
        assert site.get("/walt-vpn/server").status == 200
    assert len(walt.requests("/server")) == 2
    assert site.get(PLACE + "boot.sig").body == boot_sig(digest)
    changed = walt.set_image(image="and another")
    assert site.get(PLACE + "boot.sig").body == boot_sig(changed)
    site.tolerate_log("image")


@pytest.mark.parametrize("images", ["", "WaltVpnCacheRoot @DIR@/images\n"], ids=["relayed", "cached"])
def test_nodes_boot_through_it(httpd, walt, node, enabled, images):
    """Also when the image changes from boot to boot."""
    site = greedy_site(httpd, walt, enabled)
    site.reconfigure(vhost=enabled + "WaltVpnServer " + walt.location, server=images + GREEDY)
    site.restart()
    for image in ("one", "two", "one"):
        walt.set_image(image=image)
        for _ in range(2):
            boot = node(site, lost_links={"boot.img": [5000]}).boot()
            assert boot.booted, boot
