"""iPXE's sanboot: boot.img becomes a disk of which every sector is read over HTTP, by range, when it is wanted.

The WalT server knows no ranges, so only an entrypoint that serves them itself can boot this.
"""

import re

import pytest

from boot_images import disk_that_says
from guest import ENTRYPOINT
from proxies import SEED

pytestmark = pytest.mark.needs("qemu", "ipxe", "binutils")

NODE = "192-168-152-7"
SCRIPT = "per-ip/%s/start.ipxe" % NODE
SANBOOT = "#!ipxe\nsanboot boot.img\n"
REFUSED = r"Could not (open SAN device|boot image):[^)]*\)"      # it ends with the address of an explanation


def words(token):
    return [token[start:start + 2] for start in range(0, 16, 2)]


def test_boots_a_disk_read_by_ranges(walt, cached_entrypoint, boot, token, tell):
    walt.put("start.ipxe", SANBOOT)
    walt.put("boot.img", disk_that_says(words(token)))

    guest = boot(cached_entrypoint, SCRIPT)
    guest.wait_for("disk says: %s \\(end\\)" % " ".join(words(token)), instead=REFUSED)
    tell("iPXE sanboot through mod_walt_vpn: booted after %.1f s" % guest.age)

    ranges = re.findall(r'"GET /walt-vpn/per-ip/%s/boot.img HTTP/1.1" 206 ' % NODE, cached_entrypoint.access_log)
    assert len(ranges) > 8
    assert [request.status for request in walt.requests("boot.img") if request.method == "GET"] == [200]


@pytest.mark.parametrize("kind", SEED, ids=lambda kind: kind.__name__.lower())
@pytest.mark.needs("nginx", "haproxy")
def test_a_mere_relay_does_not_boot_it(walt, folder, boot, token, tell, kind):
    """The other half of the claim: the same disk, script and firmware in front of the documented configurations."""
    walt.put("start.ipxe", SANBOOT)
    walt.put("boot.img", disk_that_says(words(token)))

    with kind(folder, walt, server_name=ENTRYPOINT) as relay:
        guest = boot(relay, SCRIPT)
        reason = " ".join(guest.wait_for(REFUSED, instead="disk says: ").group().split())
        assert re.search(r"start\.ipxe\.\.\. ok", guest.console), "the relay did not even bring the script"
    tell("iPXE sanboot through %s: did not boot: %s" % (kind.title, reason))
