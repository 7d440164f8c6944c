"""UEFI does not notice that the WalT server broke off half-way through boot.img: the entrypoint asked once more."""

import pytest

from boot_images import efi_disk, efi_program

NODE = "192-168-152-7"

SCRIPT = """\
serial --unit=0 --speed=115200
terminal_output serial
echo boot.img runs: %s
halt
"""

pytestmark = [pytest.mark.needs("qemu", "ovmf", "grub", "mtools"), pytest.mark.http_boot]


@pytest.mark.parametrize("kind", ["fin", "rst"])
def test_boots(walt, cached_entrypoint, boot, token, tell, kind):
    walt.put("boot.img", efi_disk(efi_program(SCRIPT % token)))
    walt.fault("boot.img", kind, at_byte=4 << 20)
    cached_entrypoint.expect_log("AH01110: error reading response")

    guest = boot(cached_entrypoint, "per-ip/%s/boot.img" % NODE, uefi=True)
    guest.wait_for("boot.img runs: %s" % token, instead="failed to load Boot")
    tell("UEFI HTTP boot, WalT server cut half-way (%s): boot.img ran after %.1f s" % (kind.upper(), guest.age))

    first, second = [request.sent for request in walt.requests("boot.img") if request.method == "GET"]
    assert first < second == 8 << 20
