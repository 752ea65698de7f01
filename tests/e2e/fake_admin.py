"""An admin interface with faults that no real one shows on demand.

A behavior is a function of (socket, request head); what it gives back as False ends the connection.
Those below are made by functions of what they say, so that a table can name them.
"""

import gzip
import random
import socket
import threading
import time

EMPTY = b'{"stats":[]}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def answer(body, status="200 OK", length=None, headers=""):
    length = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n"
    return head.encode() + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class FakeAdmin:
    """Each connection is handed to the behavior of the moment."""

    def __init__(self, behavior):
        self.behavior = behavior
        self.requests = []
        self.connections = set()
        self.socket = None
        self.listen(0)
        self.address = f"http://127.0.0.1:{self.port}"

    def listen(self, port=None):
        self.socket = socket.create_server(("127.0.0.1", self.port if port is None else port))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.socket,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                pending = b""
                while True:
                    while b"\r\n\r\n" not in pending:
                        piece = connection.recv(65536)
                        if not piece:
                            return
                        pending += piece
                    head, pending = pending.split(b"\r\n\r\n", 1)
                    self.requests.append(head.split(b"\r\n")[0].decode())
                    if self.behavior(connection, head) is False:
                        return
            except OSError:
                return
            finally:
                self.connections.discard(connection)

    def drop_connections(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        # Only this wakes the thread that waits in accept().
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.drop_connections()


def query(head):
    """The type of stats that a request asks for, or its path."""
    path = head.split(b" ")[1].decode()
    return path.split("type=")[1].split("&")[0] if "type=" in path else path


def working(value=1, counters=b"", gauges=b"", texts=b"", histograms=None, bounds=None):
    """Works; the value is that of a counter and of a gauge."""
    bodies = {
        "Counters": b'{"name":"a.count","value":%d}' % value + counters,
        "Gauges": b'{"name":"a.level","value":%d}' % value + gauges,
        "TextReadouts": texts,
        "Histograms": histograms or b"",
    }

    def behavior(connection, head):
        kind = query(head)
        body = bounds if bounds and b"cumulative" in head else bodies.get(kind, b"")
        whole = b'{"version":"c0ffee/1.40.0/Clean"}' if kind == "/server_info" else b'{"stats":[%s]}' % body
        connection.sendall(answer(whole))

    return behavior


def says(*pieces, stay=False):
    """These bytes, then the connection is closed, or stays silent."""

    def behavior(connection, _):
        for piece in pieces:
            connection.sendall(piece)
        if stay:
            # Until the other end has enough.
            connection.recv(1)
        return False

    return behavior


def body(data):
    return says(answer(data if isinstance(data, bytes) else data.encode()))


def stats(data):
    """One stat, whole or not."""
    return body(b'{"stats":[%s]}' % (data if isinstance(data, bytes) else data.encode()))


def again(start, piece, count=1_000_000):
    """A start, then the piece again and again; bounded, should nobody hang up, and then silent."""

    def behavior(connection, _):
        connection.sendall(start)
        many = max(1, 65536 // len(piece))
        for _ in range(count // many + 1):
            connection.sendall(piece * many)
        connection.recv(1)
        return False

    return behavior


def slowly(data, pause):
    def behavior(connection, _):
        for at in range(len(data)):
            connection.sendall(data[at:at + 1])
            time.sleep(pause)
        return False

    return behavior


def in_turn(*behaviors):
    """One after the other, a request each."""
    turn = [0]

    def behavior(connection, head):
        turn[0] += 1
        return behaviors[turn[0] % len(behaviors)](connection, head)

    return behavior


def closing(behavior):
    """The connection ends behind each answer, though nothing said so."""

    def closes(connection, head):
        behavior(connection, head)
        return False

    return closes


def in_pieces_of_a_byte(behavior):
    """A working answer, each byte a chunk."""

    class Catch:
        def __init__(self):
            self.data = b""

        def sendall(self, data):
            self.data += data

    def behaves(connection, head):
        caught = Catch()
        behavior(caught, head)
        data = caught.data.split(b"\r\n\r\n", 1)[1]
        connection.sendall(CHUNKED + b"".join(chunk(data[at:at + 1]) for at in range(len(data))) + b"0\r\n\r\n")

    return behaves


def cut_at_each_sixteenth(is_announced):
    """A good answer that ends early, elsewhere each time; its length is announced whole, or as it is."""
    data = b'{"stats":[%s]}' % b",".join(b'{"name":"a.b%d","value":%d}' % (n, n) for n in range(40))
    turn = [0]

    def behavior(connection, _):
        turn[0] += 1
        part = data[: len(data) * (turn[0] % 16) // 16]
        connection.sendall(answer(part, length=len(data) if is_announced else None))
        return False

    return behavior


def churning(count=300):
    """Other stats with every poll."""
    turn = [0]

    def behavior(connection, head):
        kind = query(head)
        turn[0] += kind == "Counters"
        names = [f"cluster.c{random.randrange(10**9)}.upstream_cx_total" for _ in range(count)]
        found = ",".join(f'{{"name":"{name}","value":1}}' for name in names) if kind == "Counters" else ""
        connection.sendall(answer(f'{{"stats":[{found}]}}'.encode()))

    return behavior


def bomb(size=200 * 1024 * 1024):
    """Little that becomes much where somebody decompresses it."""
    data = b'{"stats":[' + b" " * 1024 * 1024
    packed = gzip.compress(data + b" " * (size // 16), 1)
    return says(answer(packed, headers="Content-Encoding: gzip\r\n"))


def late_and_working(pause, value):
    works = working(value)

    def behavior(connection, head):
        time.sleep(pause)
        works(connection, head)

    return behavior


def late(pause=0.3):
    def behavior(connection, _):
        time.sleep(pause)
        connection.sendall(answer(EMPTY))

    return behavior
