"""Writes dump.txt: what the kernel answers when it is asked for TCP sockets, IPv4 and IPv6, in a network namespace
with a listener, a connection over each family, one of IPv4 to a socket of IPv6, and one that has ended on one side.

    unshare -n sh -c 'ip link set lo up && python3 testdata/sockets/record.py > testdata/sockets/dump.txt'
"""

import socket
import struct


def connection(family, bind, connect):
    server = socket.socket(family)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind((bind, 0))
    server.listen()
    client = socket.create_connection((connect, server.getsockname()[1]))
    accepted, _ = server.accept()
    client.sendall(b"a" * 10)
    accepted.recv(10, socket.MSG_WAITALL)
    accepted.sendall(b"b" * 1000)
    client.recv(1000, socket.MSG_WAITALL)
    return server, client, accepted


def main():
    held = [
        connection(socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        connection(socket.AF_INET6, "::1", "::1"),
        connection(socket.AF_INET6, "::", "127.0.0.1"),
    ]
    ended = connection(socket.AF_INET, "127.0.0.1", "127.0.0.1")
    ended[1].close()
    print("# Made by record.py, on a little-endian machine: a datagram a line.")
    for sequence, family in ((1, socket.AF_INET), (2, socket.AF_INET6)):
        netlink = socket.socket(16, socket.SOCK_DGRAM, 4)
        states = sum(1 << state for state in (1, 2, 4, 5, 8, 9, 10, 11))
        request = struct.pack("=BBBBI", family, 6, 2, 0, states) + bytes(48)
        netlink.send(struct.pack("=IHHII", 16 + len(request), 20, 0x301, sequence, 0) + request)
        while True:
            data = netlink.recv(65536)
            print(data.hex())
            if struct.unpack_from("=H", data, 4)[0] == 3:
                break
    del held


main()
