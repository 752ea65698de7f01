"""Hours beside a real Envoy, to see that nothing grows: memory, descriptors, threads.

    make soak DURATION=2h              runs, samples into a CSV, sums up, and fails on growth
    tests/soak/soak.py --report CSV    sums up what was sampled so far

Four clients scrape in different formats and encodings, the configuration is reloaded every minute
(two valid ones in turn, with another profile, poll interval and set of targets, and now and then a
bad one), and Envoy is killed and started again every five minutes. A scrape fails when it is not
answered, breaks off, mixes two configurations, or has no data although Envoy has been up for long.
"""

import argparse
import csv
import gzip
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import wire  # noqa: E402
from servers import ROOT, Envoy, Exporter, Upstream, free_port, get  # noqa: E402

FIELDS = ["seconds", "rss_kib", "descriptors", "threads", "cpu_seconds", "scrapes", "failed_scrapes",
          "reloads", "refused_reloads", "wrong_reloads", "envoy_starts"]
LEVELS = ["rss_kib", "descriptors", "threads"]
# Each client: Accept, Accept-Encoding.
CLIENTS = [
    ("text/plain;version=0.0.4", "identity"),
    ("text/plain;version=0.0.4", "gzip"),
    ("application/openmetrics-text;version=1.0.0", "zstd"),
    ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "gzip"),
]
# How far the last quarter may be above the first one after the warm-up.
GROWTH = {"rss_kib": (0.10, 4096), "descriptors": (0, 4), "threads": (0, 2)}
# Data is served for 15 s, and a poll and a reload come within this of a start.
SETTLED = 25


def seconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(s|m|h)", text).groups()
    return float(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def write(path, config):
    """As a careful editor does: the new file takes the place of the old one at once."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(config))
    new.replace(path)


class Soak:
    def __init__(self, args, directory):
        self.args, self.directory = args, directory
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(FIELDS[5:], 0)
        self.failures = []
        self.up_since = None
        self.upstream = Upstream()
        self.ports = (free_port(), free_port(), free_port())
        self.start_envoy()
        admin = f"http://127.0.0.1:{self.ports[0]}"
        edge = {"name": "edge", "admin_address": admin}
        gone = {"name": "gone", "admin_address": f"http://127.0.0.1:{free_port()}"}
        relabel = [{"source_labels": ["__name__"], "regex": "envoy_cluster_lb_.*", "action": "drop"}]
        self.valid = [
            {"targets": [edge], "poll": {"interval": "5s"}},
            {"targets": [edge, gone], "poll": {"interval": "2s"}, "mapping": ["standard"],
             "metric_relabel_configs": relabel},
        ]
        self.invalid = {"targets": [edge], "poll": {"intervall": "5s"}, "mapping": ["missing.yaml"]}
        self.config = directory / "config.yaml"
        write(self.config, self.valid[0])
        self.exporter = Exporter(directory, "--config.file", self.config, "--web.enable-lifecycle",
                                 env={"MALLOC_ARENA_MAX": "1"})  # as the image has it
        self.exporter.wait_ready_target()

    def count(self, **more):
        with self.lock:
            for name, number in more.items():
                self.counts[name] += number

    def fail(self, what):
        with self.lock:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {what}")
            print(self.failures[-1], flush=True)

    def start_envoy(self):
        self.envoy = Envoy("1.40.0", self.directory, self.upstream.port, clusters=self.args.clusters, ports=self.ports)
        self.up_since = time.monotonic()
        self.count(envoy_starts=1)

    def restart(self):
        while not self.stop.wait(self.args.restart_every):
            self.up_since = None
            self.envoy.kill()
            self.stop.wait(7)
            self.start_envoy()

    def send(self):
        number = 0
        while not self.stop.wait(0.5):
            number += 7
            try:
                get(f"http://127.0.0.1:{self.ports[1]}/{number % self.args.clusters}/status/{200 if number % 5 else 503}")
            except OSError:
                pass  # Envoy is down now and then.

    def reload(self):
        turn = 0
        while not self.stop.wait(self.args.reload_every):
            turn += 1
            is_bad = turn % 5 == 0
            write(self.config, self.invalid if is_bad else self.valid[turn % 2])
            try:
                status, _, text = get(self.exporter.url + "/-/reload", method="POST", timeout=30)
            except OSError as error:
                status, text = 0, str(error)
            if status == (500 if is_bad else 200):
                self.count(**{"refused_reloads" if is_bad else "reloads": 1})
            else:
                self.count(wrong_reloads=1)
                self.fail(f"reload {turn}: {status} {text}")

    def scrape(self, at):
        accept, encoding = CLIENTS[at]
        connection, turn = None, 0
        self.stop.wait(at * self.args.scrape_every / len(CLIENTS))
        while not self.stop.wait(self.args.scrape_every):
            turn += 1
            # Prometheus keeps its connection; others make a new one each time.
            if connection is None or at % 2:
                connection = http.client.HTTPConnection("127.0.0.1", self.exporter.port, timeout=30)
            settled = self.up_since and time.monotonic() - self.up_since > SETTLED
            try:
                connection.request("GET", "/metrics", headers={"Accept": accept, "Accept-Encoding": encoding})
                answer = connection.getresponse()
                body = answer.read()
                wrong = self.wrong(answer, body, accept, encoding, settled, whole=turn % 20 == 1)
            except (OSError, EOFError, http.client.HTTPException, subprocess.CalledProcessError, wire.Malformed) as error:
                connection, wrong = None, repr(error)
            if self.stop.is_set():
                return
            self.count(scrapes=1, failed_scrapes=1 if wrong else 0)
            if wrong:
                self.fail(f"scrape of {accept} {encoding}: {wrong}")

    @staticmethod
    def wrong(answer, body, accept, encoding, settled, whole):
        """What is wrong with an answer. What costs is looked at now and then."""
        if answer.status != 200:
            return f"{answer.status} {body[:200]}"
        if answer.getheader("Content-Encoding", "identity") != encoding:
            return f"it is {answer.getheader('Content-Encoding')}"
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "zstd":
            body = subprocess.run(["zstd", "-dcq"], input=body, capture_output=True, check=True).stdout
        if "protobuf" in accept:
            if whole:
                wire.read(body)
        else:
            end = b"# EOF\n" if "openmetrics" in accept else b"\n"
            if not body.endswith(end):
                return f"it ends with {body[-60:]}"
            if b'{envoy_cluster_name="' in body and b'{cluster="' in body:
                return "it mixes two configurations"
        has_data = b"envoy_cluster_upstream_cx_" in body
        if settled and not has_data:
            return "it has no data, though Envoy is up"
        return None

    def sample(self, start):
        pid = self.exporter.process.pid
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        with self.lock:
            counts = dict(self.counts)
        return {
            "seconds": round(time.monotonic() - start),
            "rss_kib": int(status["VmRSS"].split()[0]),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": int(status["Threads"]),
            "cpu_seconds": (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"),
            **counts,
        }

    def run(self, path):
        work = [self.restart, self.send, self.reload]
        threads = [threading.Thread(target=one, daemon=True) for one in work]
        threads += [threading.Thread(target=self.scrape, args=(at,), daemon=True) for at in range(len(CLIENTS))]
        for thread in threads:
            thread.start()
        start = time.monotonic()
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, FIELDS)
            writer.writeheader()
            while time.monotonic() - start < self.args.duration:
                writer.writerow(self.sample(start))
                out.flush()
                time.sleep(self.args.sample_every)
                if self.exporter.process.poll() is not None:
                    self.fail(f"the exporter ended with {self.exporter.process.returncode}")
                    break
        self.stop.set()
        for thread in threads:
            thread.join(60)
        if self.exporter.stop() != 0:
            self.fail("the exporter did not stop well")
        self.envoy.kill()
        self.upstream.stop()
        return self.failures


def slope(rows, field):
    """Change in an hour, by least squares."""
    times, values = [row["seconds"] / 3600 for row in rows], [row[field] for row in rows]
    if len(set(times)) < 2:
        return 0.0
    return statistics.linear_regression(times, values).slope


def report(path):
    """Prints the sum of it, and gives what is wrong."""
    with path.open() as text:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(text)]
    if not rows:
        return ["nothing was sampled"]
    last, warm = rows[-1], [row for row in rows if row["seconds"] >= rows[-1]["seconds"] / 6]
    quarter = max(1, len(warm) // 4)
    wrong = []
    print(f"{last['seconds'] / 3600:.2f} h, {len(rows)} samples; the first sixth is warm-up")
    print(f"{'':14}{'first':>10}{'warm':>10}{'last':>10}{'max':>10}{'per hour':>12}")
    for field in LEVELS:
        early = statistics.median(row[field] for row in warm[:quarter])
        late = statistics.median(row[field] for row in warm[-quarter:])
        per_hour, most = slope(warm, field), max(row[field] for row in rows)
        print(f"{field:14}{rows[0][field]:10.0f}{early:10.0f}{late:10.0f}{most:10.0f}{per_hour:+12.1f}")
        share, least = GROWTH[field]
        if late - early > max(share * early, least):
            wrong.append(f"{field} grew from {early:.0f} to {late:.0f}")
    print(f"CPU: {100 * last['cpu_seconds'] / max(last['seconds'], 1):.1f} % of a core")
    print(", ".join(f"{field.replace('_', ' ')}: {last[field]:.0f}" for field in FIELDS[5:]))
    for field in ("failed_scrapes", "wrong_reloads"):
        if last[field]:
            wrong.append(f"{last[field]:.0f} {field.replace('_', ' ')}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=seconds, default="2h")
    parser.add_argument("--directory", type=Path, default=ROOT / "target/soak")
    parser.add_argument("--clusters", type=int, default=300)
    parser.add_argument("--sample-every", type=seconds, default="10s")
    parser.add_argument("--scrape-every", type=seconds, default="15s")
    parser.add_argument("--reload-every", type=seconds, default="1m")
    parser.add_argument("--restart-every", type=seconds, default="5m")
    parser.add_argument("--report", type=Path, metavar="CSV", help="sum up a run, also one under way")
    args = parser.parse_args()
    wrong = []
    path = args.report
    if path is None:
        args.directory.mkdir(parents=True, exist_ok=True)
        path = args.directory / "samples.csv"
        wrong += Soak(args, args.directory).run(path)
    wrong += report(path)
    for line in wrong:
        print("WRONG:", line)
    print("failed" if wrong else "passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
