"""A kernel and an initial ramdisk come through the entrypoint, as files of a node's folder beside boot.img; the guest then
asks for /walt-vpn/server, and downloads a boot.img that it checks against its boot.sig."""

import random

import pytest

from boot_images import efi_disk, efi_program
from guest import ENTRYPOINT
from initramfs import KERNEL, initramfs

NODE = "192-168-152-7"
ARGUMENTS = "console=ttyS0 quiet panic=-1 entrypoint=http://%s/walt-vpn node=%s token=%%s" % (ENTRYPOINT, NODE)

IPXE_SCRIPT = """\
#!ipxe
kernel vmlinuz %s
initrd initrd
boot
"""

GRUB_SCRIPT = """\
serial --unit=0 --speed=115200
terminal_output serial
echo boot.img runs: @TOKEN@
net_bootp
set net_default_interface=efinet0:dhcp
set root=(http,%s)
echo WalT server:
cat /walt-vpn/server
linux /walt-vpn/per-ip/%s/vmlinuz %%s
initrd /walt-vpn/per-ip/%s/initrd
boot
echo GRUB could not boot
halt
""" % (ENTRYPOINT, NODE, NODE)


@pytest.fixture
def system(walt):
    with open(KERNEL, "rb") as kernel:
        walt.put("vmlinuz", kernel.read())
    walt.put("initrd", initramfs())


def await_node(guest, walt, token):
    answer = guest.wait_for("node %s is up: WalT server (.*), boot.img is as boot.sig says" % token,
                            instead="node %s failed: .*|GRUB could not boot" % token)
    assert answer.group(1) == walt.fqdn


@pytest.mark.needs("qemu", "ipxe", "kernel", "busybox")
def test_started_by_ipxe(walt, system, cached_entrypoint, boot, token, tell):
    walt.put("start.ipxe", IPXE_SCRIPT % (ARGUMENTS % token))
    walt.put("boot.img", random.Random(token).randbytes(8 << 20))

    guest = boot(cached_entrypoint, "per-ip/%s/start.ipxe" % NODE)
    await_node(guest, walt, token)
    tell("iPXE, Linux and busybox through mod_walt_vpn: up after %.1f s" % guest.age)


@pytest.mark.http_boot
@pytest.mark.needs("qemu", "ovmf", "grub", "mtools", "kernel", "busybox")
def test_started_by_uefi_http_boot_and_grub(walt, system, cached_entrypoint, boot, token, tell):
    """UEFI downloads boot.img whole, makes a disk in memory of it and runs its EFI program: a GRUB, which goes on with an
    HTTP client of its own (Debian 12) or with that of the firmware (Debian 14)."""
    walt.put("boot.img", efi_disk(efi_program((GRUB_SCRIPT % (ARGUMENTS % token)).replace("@TOKEN@", token))))

    guest = boot(cached_entrypoint, "per-ip/%s/boot.img" % NODE, uefi=True, memory_mib=512)
    guest.wait_for("boot.img runs: %s" % token, instead="failed to load Boot")
    tell("UEFI HTTP boot through mod_walt_vpn: boot.img ran after %.1f s" % guest.age)
    await_node(guest, walt, token)
    tell("GRUB, Linux and busybox through mod_walt_vpn: up after %.1f s" % guest.age)
