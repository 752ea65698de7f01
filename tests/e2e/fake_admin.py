"""An admin interface with faults that no real one shows on demand."""

import socket
import threading
import time

EMPTY = b'{"stats":[]}'


def answer(body, status="200 OK", length=None):
    length = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


class FakeAdmin:
    """Each connection is handed to a function of (socket, request head)."""

    def __init__(self, behavior):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.behavior = behavior
        self.requests = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
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

    def stop(self):
        self.socket.close()


def says(data):
    return lambda connection, _: connection.sendall(data)


def endless(connection, _):
    connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    piece = b'{"name":"a","value":1},' * 400
    start = b'{"stats":['
    connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
    # Bounded, should nobody hang up.
    for _ in range(20_000):
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))


def trickle(connection, _):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.1)
    return False


def silent(connection, _):
    time.sleep(5)
    return False


def cut(connection, _):
    connection.sendall(answer(b'{"stats":[{"name":"a.b","val', length=200))
    return False


def late(connection, _):
    time.sleep(0.3)
    connection.sendall(answer(EMPTY))
