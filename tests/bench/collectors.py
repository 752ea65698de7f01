"""What collectors cost beside a poll of the stats alone: ours and Envoy's CPU, and memory.

    .venv/bin/python tests/bench/collectors.py --clusters 5000 --hosts 4
"""

import argparse
import os
import statistics
import tempfile

from bench import SOME, Upstream, about, exporter, fetch, killed, measured, memory
from servers import ROOT, Envoy


class Wide(Envoy):
    """Clusters of several endpoints."""

    hosts = 1

    def config(self, upstream_port, *arguments):
        config = super().config(upstream_port, *arguments)
        for cluster in config["static_resources"]["clusters"]:
            for at in range(1, self.hosts):
                address = {"address": f"127.0.{at // 250}.{at % 250 + 2}", "port_value": upstream_port}
                endpoint = {"endpoint": {"address": {"socket_address": address}}}
                cluster["load_assignment"]["endpoints"][0]["lb_endpoints"].append(endpoint)
        return config


def shown(values):
    ms = [value * 1000 for value in values]
    return f"{statistics.median(ms):.1f} ms ({min(ms):.1f} .. {max(ms):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=5000)
    parser.add_argument("--hosts", type=int, default=1, help="endpoints of each cluster")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    os.environ.setdefault("ENVOY_EXPORTER_BINARY", str(ROOT / "target/release/envoy-exporter"))
    Wide.hosts = arguments.hosts
    upstream = Upstream()
    about()
    off = ["--no-collector.certificates", "--no-collector.server_info"]
    print(f"\n{arguments.clusters} clusters of {arguments.hosts} endpoints\n")
    print("| collectors | the exporter, one poll | Envoy, meanwhile | first poll | series | at most |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory, killed(
            Wide("1.40.0", directory, upstream.port, clusters=arguments.clusters, flush="5s")) as envoy:
        for number in range(0, arguments.clusters, max(1, arguments.clusters // 200)):
            envoy.request(number, 200)
        print(f"| the answer of /clusters | {fetch(envoy.admin + '/clusters?format=json') / 1e6:.1f} MB | | | | |")
        for what, flags in (
            ("none", off),
            ("as they are by default", []),
            ("endpoints", [*off, "--collector.endpoints"]),
            ("all", ["--collector.endpoints", "--collector.listeners", "--collector.memory"]),
        ):
            with exporter(directory, envoy, "0s", *flags) as ours:
                def poll():
                    return fetch(ours.url + SOME)

                first, _ = measured(1, poll, ours, envoy)
                polls, envoys = measured(arguments.runs, poll, ours, envoy)
                text = ours.metrics("envoy_exporter_series")
                series = int(text.splitlines()[-1].split()[-1])
                print(f"| {what} | {shown(polls)} | {shown(envoys)} | {first[0] * 1000:.0f} ms | {series:,} | "
                      f"{memory(ours, 'VmHWM'):.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
