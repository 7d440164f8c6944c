"""A PC without a disk, in QEMU: software emulation, one network card, serial lines, and nobody to talk to but the
entrypoint."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import processes
from httpd import read

HERE = os.path.dirname(os.path.abspath(__file__))
ENTRYPOINT = "10.0.2.4"     # the entrypoint's address as the guest sees it, and the name by which it asks for it
QEMU = "qemu-system-x86_64"
ROMS = ("/usr/lib/ipxe/qemu", "/usr/share/qemu")        # Debian 12's, and later ones
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"
CONSOLE_CODES = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[()].|.)|\r")


class Guest:
    """Boots as its firmware sees fit, from the URL that DHCP gives it.

    folder        an empty one that it may use
    port          where the entrypoint listens
    path          what to boot, below /walt-vpn/
    uefi          EDK2's firmware instead of a BIOS with iPXE in the network card's ROM
    """

    def __init__(self, folder, port, path, uefi=False, memory_mib=256):
        self.console_paths = [os.path.join(folder, "line-%d" % line) for line in ((1,) if uefi else (1, 2))]
        self.url = "http://%s/walt-vpn/%s" % (ENTRYPOINT, path)
        self.started = time.monotonic()
        relay = " ".join(shlex.quote(word) for word in (sys.executable, "-S", "-E", os.path.join(HERE, "relay"), str(port)))
        network = ("user,id=net,restrict=on,bootfile=%s,guestfwd=tcp:%s:80-cmd:%s"
                   % (self.url, ENTRYPOINT, relay.replace(",", ",,")))
        command = [QEMU, "-no-user-config", "-nodefaults", "-accel", "tcg", "-m", str(memory_mib), "-no-reboot",
                   "-display", "none", "-netdev", network]
        for line in self.console_paths:
            command += ["-serial", "file:" + line.replace(",", ",,")]
        command += self.uefi(folder) if uefi else self.bios()
        with open(os.path.join(folder, "qemu.log"), "wb") as log:
            self.process = processes.spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.log_path = log.name

    @staticmethod
    def bios():
        """graphics=off: the BIOS, and with it iPXE, shows on the serial line what a screen would show."""
        return ["-machine", "pc,graphics=off", "-boot", "strict=on",
                "-device", "virtio-net-pci,netdev=net,bootindex=1"]

    @staticmethod
    def uefi(folder):
        """Without the card's ROM, so that nothing of iPXE takes part; with PXE switched off, HTTP boot comes first."""
        variables = os.path.join(folder, "uefi-variables")
        shutil.copyfile(OVMF_VARIABLES, variables)
        return ["-machine", "q35",
                "-drive", "if=pflash,format=raw,readonly=on,file=" + OVMF,
                "-drive", "if=pflash,format=raw,file=" + variables.replace(",", ",,"),
                "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n",
                "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n",
                "-device", "virtio-rng-pci", "-device", "virtio-net-pci,netdev=net,bootindex=1,romfile="]

    @property
    def console(self):
        """What it showed so far, without codes that move a cursor: the serial line that the firmware writes on, and where
        that is a BIOS a second one, which is the boot sector's own."""
        return "\n".join(CONSOLE_CODES.sub("", read(path)) for path in self.console_paths)

    def wait_for(self, pattern, seconds=150, instead=None):
        """The match of a pattern on the console; an assertion when time runs out, the guest ends, or shows `instead`."""
        end = self.started + seconds
        while True:
            ended, late = self.process.poll() is not None, time.monotonic() > end
            console = self.console
            found = re.search(pattern, console)
            if found:
                return found
            problem = "it ended" if ended else "not within %d s" % seconds if late else None
            if instead and re.search(instead, console):
                problem = "%r came instead" % re.search(instead, console).group()
            assert not problem, "%r: %s; on the console:\n%s%s" % (pattern, problem, console[-3000:], read(self.log_path))
            time.sleep(0.05)

    @property
    def age(self):
        return time.monotonic() - self.started

    def stop(self):
        processes.end(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
