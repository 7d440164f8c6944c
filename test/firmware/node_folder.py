"""The stand-in WalT server with real files in its nodes' folder."""

import hashlib
import os
from unittest import mock

import stand_in
from boot_files import boot_sig

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node_folder_server.py")


class NodeFolder(stand_in.WaltServer):
    """A WaltServer whose per-ip/D-D-D-D/ holds, for every node alike, the files that put() is given."""

    def __init__(self, folder):
        self.folder = folder
        with mock.patch.object(stand_in, "PROGRAM", PROGRAM), mock.patch.dict(os.environ, WALT_NODE_FOLDER=folder):
            super().__init__()

    def put(self, name, content):
        """A boot.img brings its boot.sig."""
        content = content.encode() if isinstance(content, str) else content
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(content)
        if name == "boot.img":
            self.put("boot.sig", boot_sig(hashlib.sha256(content).hexdigest()))
