"""What the collector of TCP connections costs, by how many sockets there are: our CPU for a poll, and memory.

    unshare --net sh -c 'ip link set lo up && exec .venv/bin/python tests/bench/tcp.py --sockets 20000'

In a network namespace of its own there are no other sockets than these. Half of them are connections to endpoints of
clusters, the others their other ends.
"""

import argparse
import os
import signal
import socket
import tempfile

from bench import SOME, about, exporter, fetch, killed, measured, memory
from collectors import shown
from servers import ROOT, Envoy


class Wide(Envoy):
    """An address for each cluster."""

    def config(self, upstream_port, *arguments):
        config = super().config(upstream_port, *arguments)
        for number, cluster in enumerate(config["static_resources"]["clusters"]):
            address = {"address": address_of(number), "port_value": upstream_port}
            (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            endpoint["endpoint"] = {"address": {"socket_address": address}}
        return config


def address_of(number):
    return f"127.1.{number // 250}.{number % 250 + 1}"


# Of descriptors a process may have but so many.
MOST = 4000


def hold(server, clusters, count):
    """A process that has so many connections, and as many other ends; its id."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        held = []
        for number in range(count):
            client = socket.create_connection((address_of(number % clusters), server.getsockname()[1]))
            client.sendall(b"x" * 100)
            held += [client, server.accept()[0]]
        os.write(there, b".")
        signal.pause()
    os.close(there)
    assert os.read(here, 1) == b".", "connections could not be opened"
    os.close(here)
    return child


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, nargs="+", default=[1000, 20_000, 100_000])
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    os.environ.setdefault("ENVOY_EXPORTER_BINARY", str(ROOT / "target/release/envoy-exporter"))
    server = socket.create_server(("0.0.0.0", 0), backlog=1024)
    port = server.getsockname()[1]
    about()
    off = ["--no-collector.certificates", "--no-collector.server_info"]
    print(f"\n{arguments.clusters} clusters\n")
    print("| sockets | without the collector | with it | the collector's own time | at most |\n|---|---|---|---|---|")
    held, holders = 0, []
    try:
        with tempfile.TemporaryDirectory() as directory, killed(
                Wide("1.40.0", directory, port, clusters=arguments.clusters, flush="5s")) as envoy:
            for sockets in sorted(arguments.sockets):
                while held < sockets:
                    more = min(MOST, (sockets - held) // 2)
                    holders.append(hold(server, arguments.clusters, more))
                    held += 2 * more
                rows = []
                for flags in ([], ["--collector.tcp"]):
                    with exporter(directory, envoy, "0s", *off, *flags) as ours:
                        def poll():
                            return fetch(ours.url + SOME)

                        measured(2, poll, ours, envoy)
                        polls, _ = measured(arguments.runs, poll, ours, envoy)
                        rows.append(shown(polls))
                        if flags:
                            text = ours.metrics("envoy_exporter_collector_duration_seconds", "envoy_tcp_info_sockets")
                            lines = [line for line in text.splitlines() if not line.startswith("#")]
                            (took,) = [float(line.split()[-1]) for line in lines if 'collector="tcp"' in line]
                            seen = sum(int(line.split()[-1]) for line in lines if "envoy_tcp_info_sockets" in line)
                            assert seen >= sockets, text
                            rows += [f"{took * 1000:.1f} ms", f"{memory(ours, 'VmHWM'):.1f} MB"]
                print(f"| {sockets:,} | " + " | ".join(rows) + " |", flush=True)
    finally:
        for holder in holders:
            os.kill(holder, signal.SIGKILL)


if __name__ == "__main__":
    main()
