"""Run in a network namespace of its own: Envoy and the exporter here, the upstream in a second one, and between them
40 ms of delay and a loss of 5 % on what the proxy sends. Compares with what `ss` shows.

    unshare --net python3 tests/e2e/far.py 1.40.0 DIRECTORY

Delay and loss are the kernel's own (tc netem). A kernel without netem gets them from a wire between two tun devices:
packets are the kernel's all the same, and so are round trips and retransmissions.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
import urllib.request

import ss
from servers import OPENER, Envoy, Exporter, cluster_name, free_port, wait_for
from test_tcp import of_cluster, read, same_as_ss

DELAY, LOSS = 0.04, 0.05
NEAR, FAR = ("10.77.0.1", "fd77::1"), ("10.77.0.2", "fd77::2")

SINK = """
import socket, socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = b""
            while not head.endswith(b"\\r\\n\\r\\n"):
                byte = self.rfile.readline()
                if not byte:
                    return
                head += byte
            length = [int(line.split(b":")[1]) for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length")]
            self.rfile.read(length[0] if length else 0)
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
Server(("::", int(sys.argv[1])), Handler).serve_forever()
"""


def sh(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


def netem(far):
    sh("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far)
    try:
        sh("tc", "qdisc", "add", "dev", "near", "root", "netem", "delay", f"{DELAY * 1000:.0f}ms", "loss", f"{LOSS * 100:.0f}%")
    except subprocess.CalledProcessError as error:
        assert "kind is unknown" in error.stderr or "No such file" in error.stderr, error.stderr
        sh("ip", "link", "del", "near")
        return False
    return True


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR)
    # TUN, without a head of its own before packets.
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH", name.encode(), 0x0001 | 0x1000))
    return device


def wire(far):
    near, other = tun("near"), tun("far")
    sh("ip", "link", "set", "far", "netns", far)
    chance = random.Random(1)

    def carry():
        waiting = []
        while True:
            timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([near, other], [], [], timeout)
            now = time.monotonic()
            if near in ready:
                packet = os.read(near, 65536)
                if chance.random() >= LOSS:
                    heapq.heappush(waiting, (now + DELAY, now, packet))
            if other in ready:
                os.write(near, os.read(other, 65536))
            while waiting and waiting[0][0] <= now:
                os.write(other, heapq.heappop(waiting)[2])

    # The devices take packets once they are up.
    return threading.Thread(target=carry, daemon=True)


def post(port, number, size):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{number}/", data=b"x" * size, method="POST")
    with OPENER.open(request, timeout=60) as answer:
        assert answer.status == 200 and answer.read() == b"ok"


class Far(Envoy):
    def config(self, upstream_port, *others):
        config = super().config(upstream_port, *others)
        for cluster, address in zip(config["static_resources"]["clusters"], FAR, strict=True):
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"] = {"socket_address": {"address": address, "port_value": upstream_port}}
        for route in config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"][
                "route_config"]["virtual_hosts"][0]["routes"]:
            route["route"]["timeout"] = "60s"
        return config


def main(version, directory):
    sh("ip", "link", "set", "lo", "up")
    port = free_port()
    children = []
    try:
        held = subprocess.Popen(["unshare", "--net", sys.executable, "-c", "print(flush=True); input()"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        children.append(held)
        held.stdout.readline()
        carrier = None
        if not netem(held.pid):
            print("no netem: a wire of tun devices")
            carrier = wire(held.pid)
        inside = ["nsenter", "-t", str(held.pid), "-n"]
        for prefix, device, addresses in (([], "near", NEAR), (inside, "far", FAR)):
            sh(*prefix, "ip", "addr", "add", f"{addresses[0]}/24", "dev", device)
            sh(*prefix, "ip", "-6", "addr", "add", f"{addresses[1]}/64", "dev", device, "nodad")
            sh(*prefix, "ip", "link", "set", device, "up")
        if carrier:
            carrier.start()
        children.append(subprocess.Popen([*inside, sys.executable, "-c", SINK, str(port)]))
        envoy = Far(version, directory, port, clusters=2)
        children.append(envoy.process)
        exporter = Exporter(directory, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", "0s", "--collector.tcp")
        children.append(exporter.process)
        read(exporter)
        wait_for("the far side", lambda: all(post(envoy.port, number, 1) is None for number in (0, 1)))
        working = [threading.Thread(target=lambda number=number: [post(envoy.port, number, 60_000) for _ in range(12)])
                   for number in (0, 1, 0, 1)]
        for thread in working:
            thread.start()
        before = {}
        while any(thread.is_alive() for thread in working):
            # Counters only grow, in the midst of it all.
            found, _ = read(exporter)
            for number in (0, 1):
                have = of_cluster(found, cluster_name(number))
                for name in ("retransmits", "segments_sent", "bytes_sent", "bytes_acked", "bytes_received"):
                    assert have[name] >= before.get((number, name), 0), name
                    before[number, name] = have[name]
            time.sleep(0.1)
        for number, address in ((0, FAR[0]), (1, f"[{FAR[1]}]")):
            found, wanted = same_as_ss(exporter, cluster_name(number), ["dst", f"{address}:{port}"])
            have = of_cluster(found, cluster_name(number))
            print(address, {name: wanted[name] for name in (
                "connections", "rtt_avg_ms", "rto_avg_ms", "retransmits_all", "retransmit_ratio", "bytes_sent_all")})
            assert DELAY * 1000 <= have["rtt_min_ms"] and have["rtt_avg_ms"] < 20 * DELAY * 1000, have
            # Nothing of a connection that is open was missed, whatever polls saw of it on the way.
            assert have["retransmits"] >= wanted["retransmits_all"] > 0
            assert have["bytes_sent"] >= wanted["bytes_sent_all"] >= 24 * 60_000
            assert LOSS / 5 < have["retransmit_ratio"] < LOSS * 4, have["retransmit_ratio"]
            assert len(ss.connections("dst", f"{address}:{port}")) == have["connections"]
    finally:
        for child in reversed(children):
            child.kill()
            child.wait(10)


if __name__ == "__main__":
    main(*sys.argv[1:])
