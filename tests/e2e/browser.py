"""A real browser without a window: what it makes of a page, as a document and as a picture."""

import struct
import subprocess
import tempfile
import zlib
from html.parser import HTMLParser


def chromium(url, *flags):
    """What it prints."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={profile}", *flags, url],
            capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


class Page(HTMLParser):
    """The document that the browser made of a page, or the page as it was sent: its tables as rows of
    cells, its links, its elements."""

    def __init__(self, url, html=None):
        super().__init__()
        self.tables, self.links, self.elements, self.texts, self.inputs = {}, [], [], {}, {}
        self.open, self.table = [], None
        self.html = chromium(url, "--dump-dom") if html is None else html
        self.feed(self.html)
        self.tables = {name: [[cell.strip() for cell in row] for row in rows] for name, rows in self.tables.items()}

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append(tag)
        if attributes.get("id"):
            self.open = [attributes["id"]]
        if tag == "table":
            self.table = self.tables.setdefault(attributes["id"], [])
        elif tag == "tr" and self.table is not None:
            self.table.append([])
        elif tag in ("td", "th") and self.table is not None:
            self.table[-1].append("")
        elif tag == "a":
            self.links.append(attributes["href"])
        elif tag == "input":
            self.inputs[attributes["name"]] = attributes.get("value")

    def handle_endtag(self, tag):
        if tag in ("p", "table"):
            self.open = []
        if tag == "table":
            self.table = None

    def handle_data(self, data):
        for name in filter(None, self.open):
            self.texts[name] = self.texts.get(name, "") + data
        if self.table is not None and self.table and self.table[-1]:
            self.table[-1][-1] += data


def screenshot(url, file, scheme, size=(400, 300)):
    """A picture of the page for a reader who likes it light or dark."""
    number = {"dark": 0, "light": 1}[scheme]
    chromium(url, f"--screenshot={file}", f"--window-size={size[0]},{size[1]}", "--hide-scrollbars",
             f"--blink-settings=preferredColorScheme={number}")
    return file


def pixels(file):
    """The colors of a picture, as (red, green, blue) by row."""
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert (depth, interlaced) == (8, 0) and color in (2, 6)
        elif kind == b"IDAT":
            packed += body
        at += length + 12
    step = 3 if color == 2 else 4
    raw, stride = zlib.decompress(packed), width * step
    above, rows = bytearray(stride), []
    for y in range(height):
        start = y * (stride + 1)
        how, row = raw[start], bytearray(raw[start + 1:start + 1 + stride])
        for x in range(stride):
            left = row[x - step] if x >= step else 0
            up, corner = above[x], above[x - step] if x >= step else 0
            if how == 1:
                guess = left
            elif how == 2:
                guess = up
            elif how == 3:
                guess = (left + up) // 2
            elif how == 4:
                guess = min((left, up, corner), key=lambda it: abs(left + up - corner - it))
            else:
                guess = 0
            row[x] = (row[x] + guess) & 255
        rows.append([tuple(row[x:x + 3]) for x in range(0, stride, step)])
        above = row
    return rows
