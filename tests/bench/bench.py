"""Costs beside a real Envoy: CPU and memory of a poll and of a scrape, ours, Envoy's and others'.

    make bench                 5,000 clusters, what others need there, small ones, and growth
    make bench CLUSTERS=500    one size only

Each figure is the median of several runs, with the least and the most. CPU is that of the whole
process, as the kernel counts it. Ratios are to the CPU of Envoy itself for one answer of its own
`/stats/prometheus` with the same stats, taken within the same seconds, run by run.
"""

import argparse
import contextlib
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from servers import OPENER, ROOT, Child, Envoy, Exporter, Prometheus, Upstream, free_port, get, wait_for  # noqa: E402

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
FORMATS = {
    "text": "text/plain;version=0.0.4",
    "openmetrics": "application/openmetrics-text;version=1.0.0",
    "protobuf": PROTOBUF,
}
# What the Dockerfile sets.
IMAGE = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
SOME = "/metrics?name%5B%5D=envoy_up"


def cpu(child):
    """CPU seconds of a process, in nanoseconds' resolution."""
    total = 0
    for task in Path(f"/proc/{child.process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory(child, field="VmRSS"):
    """MB of memory (10^6 bytes)."""
    for line in Path(f"/proc/{child.process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(field)


def measured(runs, action, *children):
    """For each child the CPU seconds that the action costs it, run by run."""
    rows = []
    for _ in range(runs):
        before = [cpu(one) for one in children]
        action()
        rows.append([cpu(one) - then for one, then in zip(children, before)])
    return list(zip(*rows))


def fetch(url, accept=None, encoding=None, timeout=120):
    """Reads an answer to its end without keeping it; its size."""
    headers = {"Accept": accept or "*/*", "Accept-Encoding": encoding or "identity"}
    size = 0
    with OPENER.open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
        while piece := answer.read(1 << 20):
            size += len(piece)
    return size


class Table:
    """Rows of costs. Each run of one has the cost of Envoy's own endpoint beside it, taken just before, since other
    work on the machine makes one minute dearer than the next."""

    def __init__(self, envoy):
        self.envoy = envoy

    def own(self):
        """What Envoy's own endpoint costs now."""
        ((now,),) = measured(1, lambda: fetch(self.envoy.admin + "/stats/prometheus"), self.envoy)
        return now

    def beside(self, runs, action, *children):
        """For each child the CPU seconds of each run, and those of Envoy's own endpoint before it."""
        owns, rows = [], []
        for _ in range(runs):
            owns.append(self.own())
            rows.append([values[0] for values in measured(1, action, *children)])
        return owns, list(zip(*rows))

    def row(self, what, values, owns, goal=None):
        ms = [value * 1000 for value in values]
        ratios = [value / own for value, own in zip(values, owns)]
        print(f"| {what} | {statistics.median(ms):.1f} ms ({min(ms):.1f} .. {max(ms):.1f}) | "
              f"{statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f}) | {goal or ''} |", flush=True)


@contextlib.contextmanager
def killed(child):
    try:
        yield child
    finally:
        child.kill()


@contextlib.contextmanager
def proxy(clusters, directory, upstream):
    # Envoy's default interval: at each flush it merges all histograms, which costs CPU too.
    with killed(Envoy("1.40.0", directory, upstream.port, clusters=clusters, flush="5s")) as envoy:
        for number in range(0, clusters, max(1, clusters // 200)):
            envoy.request(number, 200)
        time.sleep(6)
        yield envoy


def exporter(directory, envoy, interval, *flags, env=None):
    return killed(Exporter(
        directory, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", interval,
        "--envoy.timeout", "60s", "--log.level", "warn", *flags, env=env))


def costs(clusters, runs, directory, envoy):
    """The table of one size."""
    stats = sum(len(envoy.stats(kind)) for kind in ("Counters", "Gauges"))
    table = Table(envoy)
    size = fetch(envoy.admin + "/stats/prometheus")
    owns, firsts = [], []
    for _ in range(3):
        with exporter(directory, envoy, "0s") as fresh:
            own, ((first,),) = table.beside(1, lambda: fetch(fresh.url + SOME), fresh)
            owns, firsts = owns + own, [*firsts, first]
    first_owns = list(owns)
    polls, envoy_polls, scrapes, sizes, owns = [], [], {}, {}, []
    with exporter(directory, envoy, "0s") as ours:
        fetch(ours.url + SOME)
        # Round by round, so that what is compared was measured in the same seconds. Each scrape polls first, so that
        # nothing is shared with the one before; what a poll costs is taken off.
        for _ in range(runs):
            owns.append(table.own())
            (poll,), (envoy_poll,) = measured(1, lambda: fetch(ours.url + SOME), ours, envoy)
            polls.append(poll)
            envoy_polls.append(envoy_poll)
            for name, accept in FORMATS.items():
                for encoding in ("identity", "gzip", "zstd"):
                    key = (name, encoding)

                    def scrape():
                        sizes[key] = fetch(ours.url + "/metrics", accept, encoding)

                    ((both,),) = measured(1, scrape, ours)
                    scrapes.setdefault(key, []).append(max(0, both - poll))
    print(f"\n### {clusters} clusters, {stats:,} counters and gauges\n")
    print("| | CPU | beside Envoy's own | goal |\n|---|---|---|---|")
    table.row(f"Envoy, its own /stats/prometheus ({size / 1e6:.1f} MB)", owns, owns)
    table.row("Envoy, one poll of ours", envoy_polls, owns, "0.8")
    table.row("the exporter, one poll", polls, owns, "0.15")
    table.row("the exporter, the first poll, every name new", firsts, first_owns, "0.6")
    goals = {("text", "identity"): "0.10", ("text", "gzip"): "0.12", ("text", "zstd"): "0.06"}
    for (name, encoding), values in scrapes.items():
        what = f"the exporter, a scrape: {name}, {encoding} ({sizes[name, encoding] / 1e6:.1f} MB)"
        table.row(what, values, owns, goals.get((name, encoding)))
    print("\nResident with a poll and a gzip scrape each second:")
    for settings, env in (("as it is", {}), ("with the image's settings", IMAGE)):
        with exporter(directory, envoy, "1s", env=env) as ours:
            wait_for("a first poll", ours.is_ready, 60)
            for _ in range(10):
                fetch(ours.url + "/metrics", encoding="gzip")
                time.sleep(1)
            print(f"{settings} {memory(ours):.1f} MB, at most {memory(ours, 'VmHWM'):.1f} MB, "
                  f"{memory(ours, 'RssFile'):.1f} MB of it pages of files;")
    print(f"Envoy's {memory(envoy):.0f} MB.", flush=True)
    return stats, statistics.median(polls), statistics.median(firsts), table


def others(runs, directory, envoy, table):
    """What else one would run in our place."""
    print("\n| instead | CPU | beside Envoy's own | |\n|---|---|---|---|")
    naive = ROOT / "target/release/examples/naive"
    port = free_port()
    with killed(Child("naive", [naive, envoy.admin, f"127.0.0.1:{port}"], directory)) as child:
        child.wait_ready(f"http://127.0.0.1:{port}/-/healthy")
        fetch(f"http://127.0.0.1:{port}/metrics")
        owns, (ours, envoys) = table.beside(runs, lambda: fetch(f"http://127.0.0.1:{port}/metrics"), child, envoy)
        table.row("a plain exporter over the crate prometheus, poll and scrape", ours, owns)
        table.row("Envoy, for that", envoys, owns)
        print(f"| resident memory of it, at most | {memory(child, 'VmHWM'):.0f} MB | | |")
    for what, target, path in (
        ("Prometheus, a scrape of Envoy itself", envoy.admin, "/stats/prometheus"),
        ("Prometheus, a scrape of the exporter", None, "/metrics"),
    ):
        with exporter(directory, envoy, "5s") as ours:
            wait_for("a first poll", ours.is_ready, 60)
            address = (target or ours.url).removeprefix("http://")
            jobs = [{"job_name": "envoy", "scrape_interval": "5s", "scrape_timeout": "5s", "metrics_path": path,
                     "static_configs": [{"targets": [address]}]}]
            with killed(Prometheus(directory, [], jobs=jobs)) as prometheus:
                wait_for("a scrape", lambda: prometheus.value("scrape_samples_scraped"), 60)
                time.sleep(6)  # The second one still makes series.
                owns, (own, envoys) = table.beside(4, lambda: time.sleep(5), prometheus, envoy)
                table.row(f"{what} ({prometheus.value('scrape_samples_scraped'):,.0f} samples)", own, owns)
                table.row("Envoy, meanwhile" if target else "Envoy, meanwhile, polled once", envoys, owns)
                print(f"| resident memory of Prometheus | {memory(prometheus):.0f} MB | | |")


def throughput(directory, envoy):
    """A cached body against the same bytes from nginx, by wrk, in turns."""
    print("\n| cached body, loopback, wrk -t1 -c2 | exporter | nginx, a file | ratio |\n|---|---|---|---|")
    with exporter(directory, envoy, "10m") as ours:
        wait_for("a first poll", ours.is_ready, 60)
        port = free_port()
        static = Path(directory) / "static"
        static.mkdir(exist_ok=True)
        # nginx's own user must reach it.
        for path in (Path(directory), static):
            path.chmod(0o755)
        config = Path(directory) / "nginx.conf"
        config.write_text(f"""
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log; events {{}}
http {{ access_log off; sendfile on; tcp_nopush on; server {{ listen 127.0.0.1:{port}; root {static}; }} }}""")
        for encoding in ("gzip", "zstd"):
            request = urllib.request.Request(ours.url + "/metrics", headers={"Accept-Encoding": encoding})
            with OPENER.open(request, timeout=60) as answer:
                (static / "metrics").write_bytes(answer.read())
            with killed(Child("nginx", ["nginx", "-c", config], directory)) as nginx:
                wait_for("nginx", lambda: fetch(f"http://127.0.0.1:{port}/metrics"))
                rates = {}
                for _ in range(5):
                    for name, url in (("ours", ours.url), ("nginx", f"http://127.0.0.1:{port}")):
                        rates.setdefault(name, []).append(wrk(url + "/metrics", encoding))
                ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["nginx"]))
                mb = (static / "metrics").stat().st_size / 1e6
                print(f"| {encoding}, {mb:.1f} MB | {statistics.median(rates['ours']):.0f} MB/s | "
                      f"{statistics.median(rates['nginx']):.0f} MB/s | {ratio:.2f} (goal 0.8) |", flush=True)


def fairness(directory, envoy):
    """How long others wait while two clients read whole bodies and polls go on."""
    print("\n| meanwhile: a poll each second, two clients reading bodies of 100 MB | median | most |\n|---|---|---|")
    for cores, pin in (("two cores", None), ("one core", {0})):
        with exporter(directory, envoy, "1s") as ours:
            if pin:
                for task in Path(f"/proc/{ours.process.pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), pin)
            wait_for("a first poll", ours.is_ready, 60)
            readers = [
                subprocess.Popen(["sh", "-c", f"while :; do curl -s -o /dev/null {ours.url}/metrics; done"],
                                 start_new_session=True)
                for _ in range(2)
            ]
            try:
                for what, path in (("/-/healthy", "/-/healthy"), ("a scrape of one family", SOME)):
                    waits = []
                    for _ in range(200):
                        start = time.monotonic()
                        fetch(ours.url + path)
                        waits.append((time.monotonic() - start) * 1e3)
                        time.sleep(0.02)
                    print(f"| {what}, {cores} | {statistics.median(waits):.1f} ms | {max(waits):.1f} ms |", flush=True)
            finally:
                for reader in readers:
                    os.killpg(reader.pid, signal.SIGKILL)
                    reader.wait()


def wrk(url, encoding):
    """MB a second."""
    done = subprocess.run(
        ["wrk", "-t1", "-c2", "-d2s", "-H", f"Accept-Encoding: {encoding}", url],
        capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("Transfer/sec"))
    number = line.split()[1]
    unit = {"KB": 1e-3, "MB": 1, "GB": 1e3}[number[-2:]]
    return float(number[:-2]) * unit


def small(directory, upstream):
    """An ordinary sidecar, polled every 5 s."""
    with proxy(20, directory, upstream) as envoy, exporter(directory, envoy, "5s") as ours:
        stats = sum(len(envoy.stats(kind)) for kind in ("Counters", "Gauges", "Histograms"))
        wait_for("a first poll", ours.is_ready, 30)
        fetch(ours.url + "/metrics", encoding="gzip")
        before, start = cpu(ours), time.monotonic()
        for _ in range(6):
            time.sleep(5)
            fetch(ours.url + "/metrics", encoding="gzip")
        share = (cpu(ours) - before) / (time.monotonic() - start)
        stripped = Path(directory) / "stripped"
        subprocess.run(["strip", "-o", stripped, os.environ["ENVOY_EXPORTER_BINARY"]], check=True)
        print(f"\n### A small sidecar: 20 clusters, {stats:,} stats, a poll and a gzip scrape every 5 s\n")
        print("| | | goal |\n|---|---|---|")
        print(f"| resident memory | {memory(ours):.1f} MB, {memory(ours, 'RssFile'):.1f} MB of it pages of files | 10 MB |")
        print(f"| CPU | {share * 100:.2f} % of a core | 0.1 % |")
        print(f"| binary, stripped | {stripped.stat().st_size / 1e6:.1f} MB | 15 MB |")


def growth(rows):
    print("\n| counters and gauges | one poll | each | first poll | each |\n|---|---|---|---|---|")
    for stats, poll, first in rows:
        print(f"| {stats:,} | {poll * 1e3:.1f} ms | {poll / stats * 1e9:.0f} ns | {first * 1e3:.0f} ms | "
              f"{first / stats * 1e9:.0f} ns |")


def about():
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    load = os.getloadavg()[0]
    print(f"envoy-exporter {revision.stdout.strip()}, Envoy 1.40.0, {os.cpu_count()} cores of {model}, load before {load:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, help="one size only")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.setdefault("ENVOY_EXPORTER_BINARY", str(ROOT / "target/release/envoy-exporter"))
    for tool in ("wrk", "nginx", "strip"):
        assert shutil.which(tool), f"{tool} is needed: tests/servers/install.sh bench installs it"
    upstream = Upstream()
    about()
    with tempfile.TemporaryDirectory() as directory:
        if arguments.clusters:
            with proxy(arguments.clusters, directory, upstream) as envoy:
                costs(arguments.clusters, arguments.runs, directory, envoy)
            return
        rows = []
        for clusters in (90, 900, 5000):
            with proxy(clusters, directory, upstream) as envoy:
                stats, poll, first, table = costs(clusters, arguments.runs, directory, envoy)
                rows.append((stats, poll, first))
                if clusters == 5000:
                    others(arguments.runs, directory, envoy, table)
                    throughput(directory, envoy)
                    fairness(directory, envoy)
        growth(rows)
        small(directory, upstream)


if __name__ == "__main__":
    main()
