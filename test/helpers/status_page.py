"""The section of our module on mod_status's page, read as a browser and a monitoring program read it."""

import collections
import html.parser
import re
import socket

import wire
from processes import wait_until

MODULES = ("proxy", "proxy_http", "walt_vpn", "status")
LOCATION = '<Location "/server-status">\nSetHandler server-status\n</Location>'

BOOT_IMG = "/walt-vpn/per-ip/192-168-152-7/boot.img"
BUFFER = 64 * 1024      # what a kernel holds on either side: little, as a node's and on a real way

Cell = collections.namedtuple("Cell", "shown plain")    # as people see it, and as a program wants it


class Entrypoint:
    """What the page says of one entrypoint. Values are the plain ones.

    name
    summary     {"Sent to nodes": "1048576", ...}
    tables      {"Last boots": [{"Node": "192.168.0.1", ...}, ...], ...}; a table without rows is there too
    counts      {"Last boots": 1, ...}, as the headings say
    """

    def __init__(self, name):
        self.name = name
        self.summary = {}
        self.tables = {}
        self.counts = {}

    def number(self, label):
        return int(self.summary[label])


class Reader(html.parser.HTMLParser):
    """Reads the tables; insists that what is opened is closed."""

    VOID = {"hr", "br", "meta", "link", "img", "input"}

    def __init__(self):
        super().__init__()
        self.entrypoints = []
        self.values = []            # in the order of the page
        self.columns = None         # of the table that is being read
        self.row = None
        self.label = None           # of a row of the summary
        self.is_label = False
        self.text = None
        self.title = None
        self.open = []
        self.tags = collections.Counter()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags[tag] += 1
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "h2":
            self.text = ""
        if not self.entrypoints:
            return
        if tag in ("h3", "th", "td"):
            self.text = ""
            self.title = attributes.get("title")
            self.is_label = attributes.get("scope") == "row"
        elif tag == "table":
            self.columns = []
        elif tag == "tr":
            self.row, self.label = [], None

    def handle_data(self, data):
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        while self.open and self.open[-1] != tag and self.open[-1] in ("p", "dt", "dd", "li"):   # mod_status's own
            self.open.pop()
        assert self.open and self.open.pop() == tag, "</%s> closes nothing" % tag
        if tag == "h2":
            name = re.match("WalT VPN entrypoint (.*)", self.text)
            if name:
                self.entrypoints.append(Entrypoint(name.group(1)))
            self.text = None
        if not self.entrypoints:
            return
        current = self.entrypoints[-1]
        if tag == "h3":
            title, count = self.text.rsplit(": ", 1)
            current.tables[title] = []
            current.counts[title] = int(count)
            self.values.append(count)
        elif tag == "th":
            if self.is_label:
                self.label = self.text
            else:
                self.columns.append(self.text)
        elif tag == "td":
            cell = Cell(self.text.strip(), self.text.strip() if self.title is None else self.title)
            self.values.append(cell.plain)
            self.row.append(cell)
        elif tag == "tr" and self.row:
            if self.label is None:
                assert len(self.row) == len(self.columns), (self.row, self.columns)
                list(current.tables.values())[-1].append(
                    {column: cell.plain for column, cell in zip(self.columns, self.row)})
            else:
                current.summary[self.label] = self.row[0].plain
        if tag in ("h3", "th", "td"):
            self.text = None


def read_html(text):
    """(entrypoints, all plain values in their order, how often each tag came) of a page."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    for entrypoint in reader.entrypoints:
        for title, rows in entrypoint.tables.items():
            assert entrypoint.counts[title] == len(rows), title
    return reader.entrypoints, reader.values, reader.tags


def look(httpd, query=""):
    """What the page says of each entrypoint."""
    return read_html(page(httpd, query))[0]


def page(httpd, query="", media="text/html"):
    """The page's text."""
    reply = httpd.get("/server-status" + query, version="HTTP/1.0")
    assert reply.status == 200 and reply.header("Content-Type").startswith(media)
    return reply.body.decode("iso-8859-1")


def look_automatically(httpd, query=""):
    """[(key, value), ...] of our lines in ?auto; every line of the page must be of that form."""
    pairs = []
    for line in page(httpd, "?auto" + query, "text/plain").splitlines():
        if line.startswith("WaltVpn"):
            key, value = re.fullmatch(r"(WaltVpn\[.+?\]\.(?:[A-Z][a-z]+\[[0-9a-f.,:]+\]\.)?[A-Za-z]+): (.*)", line).groups()
            pairs.append((key, value))
    assert len(dict(pairs)) == len(pairs), "a key came twice"
    return pairs


def await_page(httpd, condition, what):
    """The first entrypoint of the page, once that is true of it."""
    wait_until(lambda: condition(look(httpd)[0]), what=what)
    return look(httpd)[0]


class SlowNode(wire.Wire):
    """A download that goes on only as far as it is told to, or a little more."""

    def __init__(self, httpd, path=BOOT_IMG, client="", **options):
        super().__init__(httpd.port, client=client)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.send(wire.request(path, httpd.server_name, **options))

    def take(self, size):
        while len(self.buffer) < size:
            assert self.receive()
