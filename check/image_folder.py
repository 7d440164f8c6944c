"""The folder of boot images, looked at and emptied from outside.

Images are regular files named by their SHA-256. Nothing else in the folder is touched and no link in it is followed, since
this may be done by root in a folder of httpd's user. Whether httpd can use the folder is said by httpd, when it is asked for
its configuration. An image may go at any time: its downloads go on from their open file.
"""

import os
import re
import stat


class Contents:
    """images: {digest: bytes}; bytes: all that counts for WaltVpnCacheSize, files on their way too."""

    def __init__(self):
        self.images = {}
        self.bytes = 0


def open_folder(path):
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def contents(path):
    """The Contents; OSError: they can't be seen."""
    found = Contents()
    folder = open_folder(path)
    try:
        for name in os.listdir(folder):
            kind = re.fullmatch("([0-9a-f]{64})[.](img|part)", name)
            try:
                status = kind and os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue        # gone since
            if not kind or not stat.S_ISREG(status.st_mode):
                continue
            found.bytes += status.st_size
            if kind.group(2) == "img":
                found.images[kind.group(1)] = status.st_size
    finally:
        os.close(folder)
    return found


def purge(path, digests):
    """Removes these images; returns {digest: bytes} of those that were there, and the OSError that stopped it, or None."""
    removed, folder = {}, None
    try:
        there, folder = contents(path).images, open_folder(path)
        for digest in digests:
            try:
                os.unlink(digest + ".img", dir_fd=folder)
                removed[digest] = there.get(digest, 0)
            except FileNotFoundError:
                pass            # gone since
    except OSError as problem:
        return removed, problem
    finally:
        if folder is not None:
            os.close(folder)
    return removed, None


def free(path):
    """Bytes that httpd's user may still write there."""
    system = os.statvfs(path)
    return system.f_bavail * system.f_frsize
