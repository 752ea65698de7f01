"""Reads requests of remote write 1.0 from their specifications, and stands in for a receiver that
does as told. It shares nothing with the program under test, and refuses what it does not know.
"""

import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wire import Malformed, fields, message, signed, varint

STALE = 0x7FF0000000000002


def unsnap(data):
    """Undoes the block format of snappy."""
    size, at = varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                more = length - 59
                length = int.from_bytes(data[at:at + more], "little")
                at += more
            out += data[at:at + length + 1]
            at += length + 1
            continue
        if tag & 3 == 1:
            length, offset = 4 + ((tag >> 2) & 7), (tag >> 5) << 8 | data[at]
            at += 1
        else:
            more = 2 if tag & 3 == 2 else 4
            length, offset = 1 + (tag >> 2), int.from_bytes(data[at:at + more], "little")
            at += more
        if not 0 < offset <= len(out):
            raise Malformed("a copy from nowhere")
        for _ in range(length):
            out.append(out[-offset])
    if len(out) != size:
        raise Malformed(f"{len(out)} bytes, not {size}")
    return bytes(out)


def packed(values):
    """Numbers of a repeated field, packed or not."""
    out = []
    for value in values:
        if isinstance(value, int):
            out.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = varint(value, at)
            out.append(number)
    return [signed(number) for number in out]


def histogram(data):
    known = {
        1: "count", 3: "sum", 4: "schema", 5: "zero_threshold", 6: "zero_count", 8: "negative_span[]",
        9: "negative_delta[]", 11: "positive_span[]", 12: "positive_delta[]", 15: "timestamp",
    }
    out = message(data, known)
    for side in ("negative", "positive"):
        spans = [message(span, {1: "offset", 2: "length"}) for span in out[f"{side}_span"]]
        out[f"{side}_span"] = [(signed(span.get("offset", 0)), span.get("length", 0)) for span in spans]
        out[f"{side}_delta"] = packed(out[f"{side}_delta"])
        if sum(length for _, length in out[f"{side}_span"]) != len(out[f"{side}_delta"]):
            raise Malformed("spans and deltas of different length")
    out["schema"] = signed(out.get("schema", 0))
    return out


def read(body):
    """Series, as (labels, value, timestamp), and metadata, as (family, type, help)."""
    series, metadata = [], []
    for number, value in fields(unsnap(body)):
        if number == 3:
            meta = message(value, {1: "type", 2: "family", 4: "help"})
            metadata.append((meta["family"].decode(), meta.get("type", 0), meta["help"].decode()))
            continue
        if number != 1:
            raise Malformed(f"field {number}")
        one = message(value, {1: "label[]", 2: "sample[]", 4: "histogram[]"})
        pairs = [message(pair, {1: "name", 2: "value"}) for pair in one["label"]]
        labels = [(pair["name"].decode(), pair["value"].decode()) for pair in pairs]
        names = [name for name, _ in labels]
        if names != sorted(set(names)) or "__name__" not in names or any(not value for _, value in labels):
            raise Malformed(f"labels {labels}")
        if len(one["sample"]) + len(one["histogram"]) != 1:
            raise Malformed(f"{labels} has not one sample")
        if one["sample"]:
            sample = message(one["sample"][0], {1: "value", 2: "timestamp"})
            value = sample["value"]
        else:
            sample = value = histogram(one["histogram"][0])
        series.append((tuple(labels), value, sample["timestamp"]))
    return series, metadata


def is_stale(value):
    number = value["sum"] if isinstance(value, dict) else value
    return struct.unpack("<Q", struct.pack("<d", number))[0] == STALE


class Receiver:
    """Keeps what it is sent; `answer` says for each request with which status and headers."""

    def __init__(self, answer=lambda number: (204, {})):
        self.lock = threading.Lock()
        self.answer, self.requests, self.heads, self.refused = answer, [], [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.lock:
                    number = len(receiver.requests) + len(receiver.refused)
                    status, headers = receiver.answer(number)
                    kept = receiver.requests if status < 300 else receiver.refused
                    kept.append(read(body))
                    receiver.heads.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v1/write"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def series(self):
        """What was taken, in the order in which it came."""
        with self.lock:
            return [one for series, _ in self.requests for one in series]

    def metadata(self):
        with self.lock:
            return [one for _, metadata in self.requests for one in metadata]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
