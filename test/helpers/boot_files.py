"""What a node boots from: boot.img, and the boot.sig that vouches for it.

An image is named, and its name and size alone determine every byte, so that the stand-in WalT server, the tests and a
benchmark agree on its content without passing it around.
"""

import functools
import hashlib
import random

MIB = 1 << 20


@functools.lru_cache(maxsize=None)
def image_pieces(name, mib):
    """boot.img of that name as pieces of one MiB, no two of them alike."""
    return [random.Random("%s/%d" % (name, number)).randbytes(MIB) for number in range(mib)]


@functools.lru_cache(maxsize=None)
def image_digest(name, mib):
    digest = hashlib.sha256()
    for piece in image_pieces(name, mib):
        digest.update(piece)
    return digest.hexdigest()


def boot_sig(digest, made_at=1790000000):
    """The 602 bytes of a boot.sig. Nobody here holds a key: the signature only has the length of one."""
    signature = random.Random(digest).randbytes(256)
    return b"%s\nts: %d\nrsa2048: %s\n" % (digest.encode(), made_at, signature.hex().encode())
