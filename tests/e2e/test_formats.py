"""Every format and encoding: others' readers take them, and each says the same."""

import gzip
import json
import math
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import exposition
import parity
import pytest
import wire
from conftest import CAPTURES, capture_names
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text
from servers import OPENER, Exporter, Prometheus, cluster_name, get, program, promtool_check, wait_for

IDLE = f"file://{CAPTURES}/1.40.0/idle"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
ACCEPT = {
    "text": "text/plain;version=0.0.4", "openmetrics": "application/openmetrics-text;version=1.0.0", "protobuf": PROTOBUF,
}
# What the documentation says of a quantile's distance from Envoy's own.
NATIVE_ERROR = 0.054


def once(name, *flags):
    command = [program(), "once", "--format", name, *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def bridged(samples):
    """Numbers of the target by name and labels; each once."""
    out = {}
    for name, labels, value in samples:
        if not parity.OF_OUR_OWN.fullmatch(name):
            key = (name, exposition.canonical(labels))
            assert key not in out, key
            out[key] = float(value)
    return out


def read(form, body):
    """Name, labels and value of each sample; others' readers take the body too."""
    if form == "protobuf":
        return list(wire.samples(wire.read(body)))
    if form == "openmetrics":
        families = openmetrics(body.decode())
        return [(sample.name, sample.labels.items(), sample.value) for family in families for sample in family.samples]
    families, _ = exposition.read(body.decode())
    samples = [sample for family in families.values() for sample in family.samples]
    # Python's own reader renames counters, but is to take each line.
    assert len(samples) == sum(len(family.samples) for family in text(body.decode()))
    return samples


@pytest.mark.parametrize("profile", ["native", "standard"])
@pytest.mark.parametrize("name", capture_names())
def test_every_format_says_the_same(name, profile, captures):
    flags = ["--envoy.admin-address", f"file://{captures(name)}", "--mapping", profile]
    bodies = {form: once(form, *flags) for form in ACCEPT}
    promtool_check(bodies["text"].decode())
    want = bridged(read("text", bodies["text"]))
    assert len(want) > 600
    for form in ("openmetrics", "protobuf"):
        got = bridged(read(form, bodies[form]))
        assert got == want, (form, sorted(map(str, got.items() ^ want.items()))[:10])
    own = [{name for name, *_ in read(form, body) if parity.OF_OUR_OWN.fullmatch(name)} for form, body in bodies.items()]
    assert own[0] == own[1] == own[2] and "envoy_up" in own[0]

    # HELP too, and types as far as each format has words for them.
    families, _ = exposition.read(bodies["text"].decode())
    seen = 0
    for family in openmetrics(bodies["openmetrics"].decode()):
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        assert families[name].help == family.documentation
        kinds = {family.type, {"info": "gauge", "unknown": "counter"}.get(family.type)}
        assert families[name].type in kinds or (family.type, families[name].type) == ("unknown", "untyped")
        assert not family.unit or family.name.endswith("_" + family.unit)
        seen += 1
    assert seen == len(families)
    got = {family["name"]: (family["type"], family["help"]) for family in wire.read(bodies["protobuf"])}
    assert got == {name: (family.type, family.help) for name, family in families.items()}


def test_native_histograms_keep_every_count(captures):
    for profile in ("native", "standard"):
        flags = ["--envoy.admin-address", f"file://{captures('1.40.0/edge')}", "--mapping", profile]
        forms = {form: wire.read(once("protobuf", *flags, "--histograms", form)) for form in ("classic", "native", "both")}
        found = 0
        for classic, native, both in zip(*forms.values(), strict=True):
            assert classic["name"] == native["name"] == both["name"]
            own = parity.OF_OUR_OWN.fullmatch(classic["name"])
            if classic["type"] != "histogram" or own:
                continue
            for one, two, three in zip(classic["series"], native["series"], both["series"], strict=True):
                assert one[0] == two[0] == three[0]
                (classic_value, value), double = (one[1], two[1]), three[1]
                assert "schema" not in classic_value and not value["bucket"]
                assert double == {**value, "bucket": classic_value["bucket"]}
                assert value["count"] == classic_value["count"] and value["sum"] == classic_value["sum"]
                assert -4 <= value["schema"] <= 7 and value["zero_threshold"] > 0
                buckets = wire.native_buckets(value)
                assert sum(count for *_, count in buckets) + value["zero_count"] == value["count"]
                found += value["count"] > 0
                for bound, count in classic_value["bucket"]:
                    # Bins lie at most 10 % apart, and none is split.
                    low = sum(c for _, upper, c in buckets if upper < bound / 1.11) + value["zero_count"]
                    high = sum(c for _, upper, c in buckets if upper <= bound * 1.11) + value["zero_count"]
                    assert low <= count <= high, (classic["name"], bound)
        assert found > 10
    classic = once("openmetrics", *flags)
    native = once("openmetrics", *flags, "--histograms", "native")
    assert bridged(read("openmetrics", classic)) == bridged(read("openmetrics", native)), "text has classic buckets"


def fetch(url, **headers):
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with OPENER.open(request, timeout=30) as answer:
        return answer.headers, answer.read()


def unpack(encoding, body):
    if encoding == "identity":
        return body
    if encoding == "zstd":
        return subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
    reader = zlib.decompressobj(31)
    plain = reader.decompress(body)
    assert reader.eof and not reader.unused_data, "one member"
    assert gzip.decompress(body) == plain
    return plain


def test_every_encoding_holds_the_same(tmp_path, children, captures):
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", f"file://{captures('1.40.0/mesh')}", "--envoy.poll-interval", "1h",
        "--envoy.stale-after", "2h", "--envoy.timeout", "30s")
    children(exporter)
    exporter.wait_ready_target()
    for form, accept in ACCEPT.items():
        wants = {}
        for encoding in ("identity", "gzip", "zstd"):
            for query in ("", "?name[]=envoy_cluster_upstream_rq_time&name[]=envoy_cluster_upstream_rq_total&name[]=envoy_up"):
                headers, body = fetch(exporter.url + "/metrics" + query, Accept=accept, Accept_Encoding=encoding)
                assert headers["Content-Encoding"] == (None if encoding == "identity" else encoding)
                assert headers["Vary"] == "Accept, Accept-Encoding"
                assert form in headers["Content-Type"] or form == "text"
                # What is not compressed is written as it is read.
                assert headers["Content-Length"] == (None if encoding == "identity" else str(len(body)))
                samples = list(read(form, unpack(encoding, body)))
                assert any(name == "envoy_up" for name, *_ in samples)
                got = bridged(samples)
                assert got and got == wants.setdefault(query, got), (form, encoding)
        assert len(set(map(len, wants.values()))) == 2
    # HEAD has the same headers.
    request = urllib.request.Request(exporter.url + "/metrics", method="HEAD", headers={"Accept-Encoding": "gzip"})
    with OPENER.open(request, timeout=10) as answer:
        assert answer.headers["Content-Encoding"] == "gzip" and int(answer.headers["Content-Length"]) > 10_000
        assert answer.read() == b""
    for encoding in ("gzip", "zstd", "identity"):
        done = subprocess.run(
            ["curl", "-sS", "--compressed", "-H", f"Accept-Encoding: {encoding}", exporter.url + "/metrics"],
            capture_output=True, timeout=30)
        assert done.returncode == 0, done.stderr
        assert bridged(read("text", done.stdout)) == wants[""], encoding


def test_concurrent_scrapes_of_every_kind(tmp_path, children, captures):
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", f"file://{captures('1.40.0/edge')}", "--envoy.poll-interval", "100ms",
        "--web.max-requests", "40")
    children(exporter)
    exporter.wait_ready_target()
    kinds = [(form, encoding) for form in ACCEPT for encoding in ("identity", "gzip", "zstd")] * 4

    def scrape(kind):
        form, encoding = kind
        _, body = fetch(exporter.url + "/metrics", Accept=ACCEPT[form], Accept_Encoding=encoding)
        return bridged(read(form, unpack(encoding, body)))

    with ThreadPoolExecutor(18) as pool:
        results = list(pool.map(scrape, kinds))
    assert all(result == results[0] for result in results)


class TextOnly:
    """Stands between Prometheus, which asks for OpenMetrics first, and the exporter."""

    def __init__(self, url):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                headers, body = fetch(url, Accept=ACCEPT["text"])
                self.send_response(200)
                self.send_header("Content-Type", headers["Content-Type"])
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def everything(prometheus):
    """Every series of the target in Prometheus; histograms as their count and sum."""
    query = urllib.parse.urlencode({"query": '{job="envoy"}'})
    rows = json.loads(get(f"{prometheus.url}/api/v1/query?{query}")[2])["data"]["result"]
    out = {}
    for row in rows:
        labels = {label: value for label, value in row["metric"].items() if label not in ("instance", "job")}
        name = labels.pop("__name__")
        if name == "up" or name.startswith("scrape_") or parity.OF_OUR_OWN.fullmatch(name):
            continue
        if "histogram" in row:
            for part in ("count", "sum"):
                out[(f"{name}_{part}", exposition.canonical(labels.items()))] = float(row["histogram"][1][part])
        else:
            out[(name, exposition.canonical(labels.items()))] = float(row["value"][1])
    return out


def test_prometheus_has_the_same_of_every_format(tmp_path, children, captures, capsys):
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", f"file://{captures('1.40.0/edge')}", "--envoy.poll-interval", "200ms",
        "--histograms", "native", "--mapping", "standard")
    children(exporter)
    exporter.wait_ready_target()
    target = f"127.0.0.1:{exporter.port}"
    proxy = TextOnly(exporter.url + "/metrics")
    found = {}
    for name, address, extra in (
        ("text", proxy.address, []), ("openmetrics", target, []),
        ("protobuf", target, ["--enable-feature=native-histograms"]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        prometheus = Prometheus(folder, [address], extra, {"scrape_interval": "2s", "scrape_timeout": "2s"})
        children(prometheus)
        wait_for("a scrape", lambda: prometheus.value("up") == 1)
        found[name] = wait_for("series", lambda: everything(prometheus))
    assert found["openmetrics"] == found["text"]
    # There a native histogram is one series; what it has of the classic one is the same.
    missing = {key for key in found["text"] if key not in found["protobuf"]}
    assert missing and all(name.endswith("_bucket") for name, _ in missing)
    for key, value in found["protobuf"].items():
        assert math.isclose(value, found["text"][key], rel_tol=1e-12), key
    with capsys.disabled():
        print(f"\nseries in Prometheus: {({name: len(series) for name, series in found.items()})}", end=" ")


def test_quantiles_of_native_histograms_are_envoys(newest_envoy, children, tmp_path, capsys):
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", newest_envoy.admin, "--envoy.poll-interval", "200ms",
        "--histograms", "native")
    children(exporter)
    prometheus = Prometheus(tmp_path, [f"127.0.0.1:{exporter.port}"], ["--enable-feature=native-histograms"])
    children(prometheus)
    # A prime number of them: no quantile falls between two samples.
    waits = [at * at % 53 * 4 for at in range(53)]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda wait: get(f"http://127.0.0.1:{newest_envoy.port}/0/wait/{wait}/200")[0], waits))
    assert set(codes) == {200}
    series = 'envoy_cluster_upstream_rq_time{envoy_cluster_name="%s"}' % cluster_name(0)
    wait_for("all are counted", lambda: prometheus.value(f"histogram_count({series})") == len(waits))
    answer = json.loads(get(f"{newest_envoy.admin}/stats?format=json&type=Histograms")[2])
    histograms = next(stat["histograms"] for stat in answer["stats"] if "histograms" in stat)
    name = f"cluster.{cluster_name(0)}.upstream_rq_time"
    own = next(stat["values"] for stat in histograms["computed_quantiles"] if stat["name"] == name)
    worst, compared = 0.0, 0
    for percent, value in zip(histograms["supported_quantiles"], own, strict=True):
        want = value["cumulative"]
        if not 0 < percent < 100 or not want:
            continue
        got = prometheus.value(f"histogram_quantile({percent / 100}, {series})")
        error = abs(got / want - 1)
        assert error <= NATIVE_ERROR, (percent, got, want)
        worst, compared = max(worst, error), compared + 1
    assert compared >= 6
    assert prometheus.query(f"{series[:series.index('{')]}_bucket") == []
    with capsys.disabled():
        print(f"\nnative quantiles: {compared} compared, at most {worst:.2%} off", end=" ")


def test_created_timestamps_are_the_start_of_the_proxy(newest_envoy, children, tmp_path):
    begun = time.time()
    newest_envoy.request(0, 200)
    table = tmp_path / "t.yaml"
    table.write_text("rules: [{stat: http.downstream_rq_time, form: summary}]\n")
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", newest_envoy.admin, "--envoy.poll-interval", "200ms",
        "--mapping", f"standard,{table}", "--created-timestamps")
    children(exporter)
    exporter.wait_ready_target()

    def created():
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        found = {}
        for family in openmetrics(get(exporter.url + "/metrics", headers=accept)[2]):
            if parity.OF_OUR_OWN.fullmatch(family.name) or family.type not in ("counter", "histogram", "summary"):
                continue
            names = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples}
            starts = {key: value for key, value in names.items() if key[0].endswith("_created")}
            assert starts, family.name
            found.update(starts)
        return found

    first = created()
    # The uptime that Envoy tells is as old as its last flush of stats.
    assert len(first) > 200 and all(abs(value - begun) < 10 for value in first.values())
    wait_for("more polls", lambda: polls(exporter) > 8)
    assert created() == first
    # In text 0.0.4 there is none.
    assert "_created{" not in exporter.metrics() and "_created " not in exporter.metrics()


def polls(exporter):
    line = next(line for line in exporter.metrics("envoy_exporter_polls_total").splitlines() if 'outcome="success"' in line)
    return float(line.split()[-1])
