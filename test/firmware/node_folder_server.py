"""The stand-in WalT server, except that files of the folder WALT_NODE_FOLDER are served first, as the real server serves a
file: with a length, without ranges."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))

import walt_server

MIB = 1 << 20


def files_first(service, folder):
    """A WSGI service in front of another."""

    def answer(environ, start_response):
        named = re.fullmatch(r"/walt-vpn/per-ip/[0-9-]+/([\w.]+)", environ["PATH_INFO"])
        path = os.path.join(folder, named.group(1)) if named else ""
        if not os.path.isfile(path) or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return service(environ, start_response)
        start_response("200 OK", [("Content-Length", str(os.path.getsize(path))), ("Content-Type", "text/html; charset=UTF-8")])
        return pieces(path) if environ["REQUEST_METHOD"] == "GET" else []

    return answer


def pieces(path):
    with open(path, "rb") as file:
        piece = file.read(MIB)
        while piece:
            yield piece
            piece = file.read(MIB)


plain_service = walt_server.walt_service
walt_server.walt_service = lambda state: files_first(plain_service(state), os.environ["WALT_NODE_FOLDER"])
walt_server.main()
