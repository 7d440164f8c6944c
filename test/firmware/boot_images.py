"""boot.img as two kinds of firmware want it: a disk with a boot sector, and a FAT file system with an EFI program."""

import os
import random
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
SECTOR = 512
PIECES = 8


def run(*command):
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def boot_sector(stride):
    with tempfile.TemporaryDirectory() as folder:
        objects, binary = os.path.join(folder, "boot_sector.o"), os.path.join(folder, "boot_sector")
        run("as", "--32", "--defsym", "STRIDE=%d" % stride, "--defsym", "PIECES=%d" % PIECES,
            "-o", objects, os.path.join(HERE, "boot_sector.s"))
        run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", binary, objects)
        with open(binary, "rb") as file:
            return file.read()


def disk_that_says(words, mib=8):
    """A bootable disk that prints eight words, each from a sector of its own, the last word from the last sector."""
    assert len(words) == PIECES
    image = bytearray(random.Random(repr(words)).randbytes(mib * MIB))
    stride = len(image) // SECTOR // PIECES
    image[:SECTOR] = boot_sector(stride)
    for number, word in enumerate(words, start=1):
        start = (number * stride - 1) * SECTOR
        image[start:start + SECTOR] = b" %s\0".ljust(SECTOR) % word.encode()
    return bytes(image)


def efi_program(grub_script):
    """GRUB as an EFI program that runs that script, with what it needs to go on over HTTP."""
    with tempfile.TemporaryDirectory() as folder:
        script, program = os.path.join(folder, "grub.cfg"), os.path.join(folder, "program.efi")
        with open(script, "w") as file:
            file.write(grub_script)
        run("grub-mkimage", "--format", "x86_64-efi", "--prefix", "/", "--config", script, "--output", program,
            "serial", "terminal", "echo", "cat", "net", "efinet", "http", "linux", "boot", "halt")
        with open(program, "rb") as file:
            return file.read()


def efi_disk(program, mib=8):
    """A FAT file system in which UEFI finds that program by itself."""
    with tempfile.TemporaryDirectory() as folder:
        source, image = os.path.join(folder, "program.efi"), os.path.join(folder, "boot.img")
        with open(source, "wb") as file:
            file.write(program)
        with open(image, "wb") as file:
            file.truncate(mib * MIB)
        run("mformat", "-i", image, "::")
        run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT")
        run("mcopy", "-i", image, source, "::/EFI/BOOT/BOOTX64.EFI")
        with open(image, "rb") as file:
            return file.read()
