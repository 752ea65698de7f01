"""Costs beside a real Envoy: CPU of a poll and of a scrape, ours and Envoy's, and memory.

    make bench                 both sizes
    make bench CLUSTERS=5000   one size

Each figure is the median of several runs, with the least and the most. CPU is that of the whole
process, as the kernel counts it, so that runs of one call can be compared with each other.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from servers import OPENER, ROOT, Envoy, Exporter, Upstream, get  # noqa: E402

FORMATS = {
    "text": "text/plain;version=0.0.4",
    "openmetrics": "application/openmetrics-text;version=1.0.0",
    "protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
}


def cpu(child):
    """CPU seconds of a process, in nanoseconds' resolution where the kernel tells them."""
    total = 0
    for task in Path(f"/proc/{child.process.pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
    return total / 1e9


def memory(child, field="VmRSS"):
    for line in Path(f"/proc/{child.process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


def measured(runs, child, action, *others):
    """CPU seconds that the action costs the child, and each of the others."""
    rows = []
    for _ in range(runs):
        before = [cpu(one) for one in (child, *others)]
        action()
        rows.append([cpu(one) - then for one, then in zip((child, *others), before)])
    return list(zip(*rows))


def scraped(runs, exporter, name, encoding):
    """Size and CPU seconds of scrapes in a format and encoding."""
    request = urllib.request.Request(
        exporter.url + "/metrics", headers={"Accept": FORMATS[name], "Accept-Encoding": encoding})
    sizes = []

    def scrape():
        with OPENER.open(request, timeout=60) as answer:
            sizes.append(len(answer.read()))

    (values,) = measured(runs, exporter, scrape)
    return sizes[-1], values


def shown(values, unit=1000):
    return f"{statistics.median(values) * unit:8.1f} ms ({min(values) * unit:.1f} .. {max(values) * unit:.1f})"


def bench(clusters, runs, directory, upstream):
    envoy = Envoy("1.40.0", directory, upstream.port, clusters=clusters)
    try:
        for number in range(0, clusters, max(1, clusters // 200)):
            envoy.request(number, 200)
        time.sleep(2)
        stats = sum(len(envoy.stats(kind)) for kind in ("Counters", "Gauges"))
        exporter = Exporter(
            directory, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", "0s",
            "--envoy.timeout", "60s", "--log.level", "warn",
        )
        try:
            start = memory(exporter)
            some = "/metrics?name%5B%5D=envoy_up"
            (first,), (envoy_first,) = measured(1, exporter, lambda: get(exporter.url + some, 60), envoy)
            polls, envoy_polls = measured(runs, exporter, lambda: get(exporter.url + some, 60), envoy)
            whole, _ = measured(runs, exporter, lambda: get(exporter.url + "/metrics", 60), envoy)
            text = get(exporter.url + "/metrics", 60)[2]
            (own,) = measured(runs, envoy, lambda: get(envoy.admin + "/stats/prometheus", 60))
            prom = get(envoy.admin + "/stats/prometheus", 60)[2]
            formats = [(*kind, *scraped(runs, exporter, *kind)) for kind in product(FORMATS, ("identity", "gzip", "zstd"))]
            scrape = [max(0, each - statistics.median(polls)) for each in whole]
            base = statistics.median(own)
            print(f"\n{clusters} clusters, {stats} counters and gauges; Envoy {envoy.version}, {runs} runs")
            print(f"  exposition: ours {len(text) / 1e6:.1f} MB, Envoy's {len(prom) / 1e6:.1f} MB")
            print(f"  Envoy's CPU, its own /stats/prometheus   {shown(own)}  ratio 1")
            for name, values in (
                ("our CPU, first poll", [first]), ("our CPU, poll", polls),
                ("Envoy's CPU, our poll", envoy_polls), ("our CPU, identity scrape", scrape),
            ):
                print(f"  {name:<40} {shown(values)}  ratio {statistics.median(values) / base:.2f}")
            for name, encoding, size, values in formats:
                # Each of these polls first, so that nothing is shared with the one before.
                values = [max(0, each - statistics.median(polls)) for each in values]
                print(f"  {name + ', ' + encoding:<24} {size:11,} bytes, our CPU {shown(values)}")
            print(
                f"  our RSS: {start:.1f} MiB before the first poll, {memory(exporter):.1f} MiB now, "
                f"{memory(exporter, 'VmHWM'):.1f} MiB at most; Envoy's {memory(envoy):.1f} MiB")
        finally:
            exporter.kill()
    finally:
        envoy.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, nargs="+", default=[20, 2000])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.setdefault("ENVOY_EXPORTER_BINARY", str(ROOT / "target/release/envoy-exporter"))
    upstream = Upstream()
    with tempfile.TemporaryDirectory() as directory:
        for clusters in arguments.clusters:
            bench(clusters, arguments.runs, directory, upstream)


if __name__ == "__main__":
    main()
