"""Expositions of others merged into ours: a real node exporter, Prometheus, Pushgateway and another exporter, each of
which shows what real programs say of themselves; a fake shows only what no real one does on demand."""

import gzip
import json
import re
import time
import urllib.request

import exposition
import fake_admin as admin
import pytest
import wire
from conftest import CAPTURES
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from servers import OPENER, ROOT, Child, Exporter, Prometheus, Pushgateway, free_port, get, promtool_check, run, wait_for

IDLE = f"file://{CAPTURES}/1.40.0/idle"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class NodeExporter(Child):
    def __init__(self, directory):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            "node-exporter", ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{self.port}"], directory)
        self.wait_ready(self.url + "/metrics")


def merging(children, directory, sources, *flags, interval="200ms", **more):
    """The program with these sources beside an idle Envoy."""
    file = directory / "merge.yaml"
    file.write_text(json.dumps({"merge": sources, "poll": {"interval": interval}, **more}))
    child = Exporter(directory, "--config.file", file, "--envoy.admin-address", IDLE, *flags)
    children(child)
    child.file = file
    return child


def raw(child, accept=None, encoding=None):
    headers = {key: value for key, value in {"Accept": accept, "Accept-Encoding": encoding}.items() if value}
    with OPENER.open(urllib.request.Request(child.url + "/metrics", headers=headers), timeout=20) as answer:
        return answer.read()


def own(child, name, **labels):
    families, _ = exposition.read(child.metrics())
    found = families.get(name)
    for _, pairs, value in found.samples if found else []:
        if labels.items() <= dict(pairs).items():
            return float(value)
    return None


def said(child):
    """Its log, without the escapes of logfmt."""
    return re.sub(r"\\(['\"])", r"\1", child.text())


def is_up(child, source, value=1):
    return own(child, "envoy_exporter_merge_up", source=source) == value


def names_of(text, source):
    """The families that have series of a source."""
    families, _ = exposition.read(text)
    return {name for name, family in families.items()
            if not name.startswith("envoy_exporter_") and any(dict(pairs).get("source") == source for _, pairs, _ in family.samples)}


def series(text):
    return set(exposition.read(text, strict=False)[1])


@pytest.fixture
def all_real(children, tmp_path):
    """Real programs, as sources."""
    node = NodeExporter(tmp_path)
    children(node)
    prometheus = Prometheus(tmp_path, [])
    children(prometheus)
    gateway = Pushgateway(tmp_path)
    children(gateway)
    other = Exporter(tmp_path, "--envoy.admin-address", IDLE)
    children(other)
    other.wait_ready_target()
    urls = {"node": node.url, "prometheus": prometheus.url, "gateway": gateway.url, "other": other.url}
    return {name: url + "/metrics" for name, url in urls.items()}


def test_real_programs_in_every_format(children, tmp_path, all_real):
    child = merging(children, tmp_path, [{"name": name, "url": url} for name, url in all_real.items()])
    child.wait_ready_target()
    wait_for("all sources", lambda: all(is_up(child, name) for name in all_real))
    text = child.metrics()
    families, _ = exposition.read(text)
    assert {"node_cpu_seconds_total", "go_goroutines", "process_open_fds"} <= names_of(text, "node")
    assert families["node_cpu_seconds_total"].type == "counter"
    assert {"prometheus_http_request_duration_seconds", "go_gc_duration_seconds", "process_open_fds"} <= names_of(text, "prometheus")
    assert {"pushgateway_build_info", "go_goroutines"} <= names_of(text, "gateway")
    # All that it has is of names that are the proxy's or ours, but for what every process has.
    assert all(name.startswith("process_") for name in names_of(text, "other"))
    # Ours, and those of the sources.
    assert len(families["process_open_fds"].samples) == 5
    assert [pairs for _, pairs, _ in families["process_open_fds"].samples][0] == []
    # Everything that a source has, and no more, but for what is refused.
    want = {(name, labels - {("source", "node")}) for name, labels in series(text) if ("source", "node") in labels}
    have = series(get(all_real["node"])[2])
    mine = {name for name, _ in want if name.startswith("envoy_exporter_")}
    missing = {name for name, labels in have if (name, labels) not in want}
    assert all(name.startswith(("node_scrape", "node_", "go_", "promhttp_")) for name in missing), missing
    assert len(missing) <= 5, missing
    assert len({(n, l) for n, l in want if n not in mine} - have) < 40
    for name in all_real:
        assert own(child, "envoy_exporter_merge_dropped_series", source=name, reason="invalid") == 0
    assert own(child, "envoy_exporter_merge_dropped_series", source="other", reason="conflict") > 100
    assert own(child, "envoy_exporter_merge_dropped_series", source="node", reason="conflict") == 0
    documented = set(re.findall(r"^\| `(envoy_exporter_merge_[a-z_]+)", (ROOT / "docs/metrics.md").read_text(), re.M))
    assert {name for name in families if name.startswith("envoy_exporter_merge_")} == documented and len(documented) == 6
    # Nothing that promtool has to say of Envoy or us; of others it may not like a name.
    complaints = promtool_check(text)
    assert not [line for line in complaints if re.search("duplicate|error while|no help text", line)], complaints
    # Others' readers of the other formats.
    om = list(openmetrics(raw(child, OPENMETRICS).decode()))
    assert {"node_cpu_seconds", "go_gc_duration_seconds", "prometheus_http_request_duration_seconds"} <= {family.name for family in om}
    messages = wire.read(raw(child, PROTOBUF))
    names = [message["name"] for message in messages]
    assert len(names) == len(set(names)) and {"node_cpu_seconds_total", "process_open_fds"} <= set(names)
    samples = {(name, exposition.canonical(labels)) for name, labels, _ in wire.samples(messages)}
    # What other programs count comes and goes between two scrapes; the node has what it has.
    of_node = {key for key in series(child.metrics()) if ("source", "node") in key[1] and key[0].startswith("node_")}
    assert {key for key in samples if ("source", "node") in key[1] and key[0].startswith("node_")} == of_node


def test_compressed_bodies_follow_a_source(children, tmp_path):
    app = App("# TYPE a gauge\na 1\n")
    child = merging(children, tmp_path, [{"name": "app", "url": app.url}])
    child.wait_ready_target()
    wait_for("the source", lambda: b'a{source="app"} 1\n' in gzip.decompress(raw(child, encoding="gzip")))
    app.body = "# TYPE a gauge\na 2\n"
    wait_for("its new value", lambda: b'a{source="app"} 2\n' in gzip.decompress(raw(child, encoding="gzip")))
    exposition.read(gzip.decompress(raw(child, encoding="gzip")).decode())
    app.stop()


def test_a_real_prometheus_scrapes_the_merged_port(children, tmp_path):
    node = NodeExporter(tmp_path)
    children(node)
    child = merging(children, tmp_path, [{"name": "node", "url": node.url + "/metrics", "labels": {"zone": "eu"}}])
    prometheus = Prometheus(tmp_path, [child.url.removeprefix("http://")])
    children(prometheus)
    wait_for("Envoy's", lambda: prometheus.value("count(envoy_server_live)") == 1)
    wait_for("the node's", lambda: (prometheus.value('count(node_cpu_seconds_total{source="node",zone="eu"})') or 0) > 0)
    assert prometheus.value('up{job="envoy"}') == 1
    assert prometheus.value("scrape_series_added") is not None
    node.kill()
    # Its failure is to be seen at once, and takes its series away when they are stale.
    wait_for("the node is down", lambda: prometheus.value('envoy_exporter_merge_up{source="node"}') == 0)
    assert prometheus.value("envoy_server_live") == 1


class App:
    """A source that says what it is told to, or behaves as a fake admin interface does."""

    def __init__(self, body, content_type=TEXT, headers=()):
        self.body, self.content_type, self.headers = body, content_type, dict(headers)
        self.asked = []
        self.fake = admin.FakeAdmin(self.answer)
        self.url = self.fake.address + "/metrics"

    def answer(self, connection, head):
        self.asked.append(head.decode())
        body = self.body if isinstance(self.body, bytes) else self.body.encode()
        lines = [f"{key}: {value}\r\n" for key, value in self.headers.items()]
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}\r\n")
        connection.sendall(f"HTTP/1.1 200 OK\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def stop(self):
        self.fake.stop()


GOOD = "# TYPE a gauge\na 1\n"
CHUNKED = f"HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
GZIP = f"Content-Type: {TEXT}\r\nContent-Encoding: gzip\r\n"

# What a source does, the outcome of its poll, and what the log says of it.
FAULTS = [
    ("refuses connections", None, "connect", "refused"),
    ("says nothing", admin.says(stay=True), "timeout", "not answered within"),
    ("stalls in the body", admin.says(CHUNKED, b"2\r\na \r\n", stay=True), "timeout", "not answered within"),
    ("ends early", admin.says(CHUNKED, b"2\r\na \r\n"), "read", "broke off"),
    ("a body without end", admin.again(CHUNKED, admin.chunk(b"# x\n" * 1000)), "too_large", "larger than the limit of 65536 bytes"),
    ("500", admin.says(admin.answer(b"no", "500 Internal Server Error")), "status", "status 500"),
    ("a redirect", admin.says(admin.answer(b"", "302 Found", headers="Location: http://192.0.2.1/metrics\r\n")), "status",
     "redirect to 'http://192.0.2.1/metrics', which is not followed"),
    ("JSON", admin.says(admin.answer(b"{}")), "decode", "'application/json' is no exposition"),
    ("no Content-Type", admin.says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n"), "decode", "no Content-Type"),
    ("gzip though not asked for", admin.says(f"HTTP/1.1 200 OK\r\n{GZIP}Content-Length: 4\r\n\r\na 1\n".encode()), "decode",
     "compressed"),
    ("text that is cut off", "# TYPE a gauge\na 1", "decode", "line 2: the last line does not end"),
    ("text that is none", "# TYPE a gauge\na one\n", "decode", "line 2: 'one' is no number"),
    ("bad UTF-8", b"a{b=\"\xff\"} 1\n", "decode", "line 1: not valid UTF-8"),
    ("names in quotes", "{\"a.b\"} 1\n", "decode", "UTF-8 names"),
]


@pytest.mark.parametrize("name,behavior,outcome,log", FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_is_seen_and_harms_nothing(children, tmp_path, name, behavior, outcome, log):
    app = App(GOOD)
    other = App("# TYPE b gauge\nb 1\n")
    limits = {"body": "64KiB"}
    child = merging(children, tmp_path, [
        {"name": "app", "url": app.url, "poll": {"timeout": "300ms", "stale_after": "1500ms"}, "limits": limits},
        {"name": "other", "url": other.url}])
    child.wait_ready_target()
    wait_for("both", lambda: {"a"} <= names_of(child.metrics(), "app") and {"b"} <= names_of(child.metrics(), "other"))
    if behavior is None:
        app.stop()
    elif callable(behavior):
        app.fake.behavior = behavior
        app.fake.drop_connections()
    else:
        app.body = behavior
    wait_for("the outcome", lambda: own(child, "envoy_exporter_merge_polls_total", source="app", outcome=outcome))
    assert is_up(child, "app", 0) and is_up(child, "other")
    # The last good series until they are stale; Envoy and the other source as ever.
    wait_for("they are gone", lambda: not names_of(child.metrics(), "app"))
    text = child.metrics()
    assert "b" in names_of(text, "other") and own(child, "envoy_up", target="envoy") == 1
    assert get(child.url + "/-/ready")[0] == 200
    assert log in said(child), said(child)
    assert child.text().count("poll of the source failed") <= 3, child.text()
    if behavior is not None:
        app.fake.behavior = app.answer
        app.body = GOOD
        app.fake.drop_connections()
        wait_for("it is back", lambda: "a" in names_of(child.metrics(), "app"))
        app.stop()
    other.stop()


def test_what_is_in_conflict_is_left_out_and_named(children, tmp_path):
    first = App("# TYPE x gauge\nx 1\n# TYPE y gauge\ny 1\n# TYPE envoy_up gauge\nenvoy_up 7\n"
                "# TYPE envoy_exporter_polls_total counter\nenvoy_exporter_polls_total 7\n"
                "# TYPE envoy_server_live gauge\nenvoy_server_live 7\n"
                "# TYPE process_open_fds gauge\nprocess_open_fds 7\n# TYPE process_max_fds counter\nprocess_max_fds 7\n"
                "# TYPE twice gauge\ntwice 1\ntwice 2\n")
    second = App("# TYPE x counter\nx 2\n# TYPE y gauge\ny{source=\"mine\"} 2\n# TYPE process_open_fds gauge\nprocess_open_fds 8\n")
    bare = App("# TYPE y gauge\ny 3\n# TYPE z gauge\nz 3\n# TYPE process_open_fds gauge\nprocess_open_fds 9\n")
    child = merging(children, tmp_path, [
        {"name": "first", "url": first.url}, {"name": "second", "url": second.url},
        {"name": "bare", "url": bare.url, "labels": {"source": ""}}])
    child.wait_ready_target()
    wait_for("all", lambda: all(is_up(child, name) for name in ("first", "second", "bare")))
    text = child.metrics()
    families, values = exposition.read(text)

    def numbers(name):
        return sorted((sorted(pairs), value) for _, pairs, value in families[name].samples)

    assert numbers("x") == [([("source", "first")], "1")]
    assert numbers("y") == [([("exported_source", "mine"), ("source", "second")], "2"), ([("source", "first")], "1")]
    assert numbers("z") == [([], "3")]
    assert numbers("envoy_up") == [([("target", "envoy")], "1")]
    fds = numbers("process_open_fds")
    assert fds[1:] == [([("source", "first")], "7"), ([("source", "second")], "8")] and fds[0][0] == [], fds
    assert len(families["process_max_fds"].samples) == 1 and "twice" not in families
    dropped = {(source, reason): own(child, "envoy_exporter_merge_dropped_series", source=source, reason=reason)
               for source in ("first", "second", "bare") for reason in ("conflict", "invalid", "limit")}
    assert {key: value for key, value in dropped.items() if value} == {
        ("first", "conflict"): 4, ("first", "invalid"): 2, ("second", "conflict"): 1, ("bare", "conflict"): 2}
    log = said(child)
    for text in ("envoy_server_live (conflict: the proxy has a family of that name)", "twice (invalid: the series {source=",
                 "envoy_up (conflict: the exporter has a metric of that name)", "x (conflict: source 'first' has it as a gauge)",
                 "y (conflict: source 'first' has it, and no label tells them apart)"):
        assert text in log, (text, log)
    assert log.count("left out changed") <= 6, log
    page = get(child.url + "/")[2]
    assert "Merged sources" in page and "envoy_server_live" in page
    # What is asked for alone has both parts.
    alone, _ = exposition.read(child.metrics("process_open_fds"))
    assert list(alone) == ["process_open_fds"] and len(alone["process_open_fds"].samples) == 3
    # One target is the target alone.
    assert 'source="first"' not in get(child.url + "/probe?target=envoy")[2]
    for app in (first, second, bare):
        app.stop()


def test_on_demand_all_are_asked_at_the_same_time(children, tmp_path):
    apps = [App("# TYPE a gauge\na 1\n") for _ in range(3)]

    def slow(app):
        def answer(connection, head):
            time.sleep(0.4)
            app.answer(connection, head)
        return answer

    for app in apps:
        app.fake.behavior = slow(app)
    child = merging(children, tmp_path, [{"name": f"app{at}", "url": app.url} for at, app in enumerate(apps)], interval="0s")
    assert not any(app.asked for app in apps), "nobody asked"
    start = time.monotonic()
    text = child.metrics()
    took = time.monotonic() - start
    assert 0.4 <= took < 1.1, took
    assert all(names_of(text, f"app{at}") == {"a"} for at in range(3))
    # Bounded by what the reader says: the slow one is late and the others are there.
    apps[0].fake.behavior = admin.says(stay=True)
    start = time.monotonic()
    _, _, text = get(child.url + "/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "1.5"})
    assert time.monotonic() - start < 1.5
    assert 'envoy_exporter_merge_up{source="app0"} 0' in text and 'envoy_exporter_merge_up{source="app1"} 1' in text
    assert 'envoy_up{target="envoy"} 1' in text
    for app in apps:
        app.stop()


def test_reloads(children, tmp_path):
    app, other = App("# TYPE a gauge\na 1\n"), App("# TYPE b gauge\nb 1\n")
    one, two = {"name": "app", "url": app.url}, {"name": "other", "url": other.url}
    child = merging(children, tmp_path, [one], "--web.enable-lifecycle")
    child.wait_ready_target()
    wait_for("the first", lambda: names_of(child.metrics(), "app") == {"a"})

    def reload(sources, status=200):
        child.file.write_text(json.dumps({"merge": sources, "poll": {"interval": "200ms"}}))
        answer = get(child.url + "/-/reload", method="POST")
        assert answer[0] == status, answer
        return answer[2]

    # There at once: its first poll is over before readers are switched over.
    reload([one, two])
    assert names_of(child.metrics(), "other") == {"b"}
    polls = own(child, "envoy_exporter_merge_polls_total", source="app", outcome="success")
    assert polls > 1, "the first one's task goes on"
    said = reload([one, {"name": "far", "url": "http://192.0.2.1/metrics"}], status=500)
    assert "only loopback addresses" in said, said
    assert names_of(child.metrics(), "other") == {"b"}
    reload([{**two, "labels": {"zone": "eu"}}])
    text = child.metrics()
    assert names_of(text, "app") == set() and 'b{source="other",zone="eu"} 1' in text
    assert 'source="app"' not in text, "nor own metrics of it"
    reload([])
    assert "merge_up" not in child.metrics()
    app.stop()
    other.stop()


def test_one_that_merges_itself_comes_to_an_end(children, tmp_path):
    port = free_port()
    file = tmp_path / "self.yaml"
    app = App("# TYPE a gauge\na 1\n")
    file.write_text(json.dumps({"poll": {"interval": "0s"}, "merge": [
        {"name": "app", "url": app.url}, {"name": "self", "url": f"http://localhost:{port}/metrics"}]}))
    child = Exporter(tmp_path, "--config.file", file, "--envoy.admin-address", IDLE, port=port)
    children(child)
    for _ in range(3):
        text = child.metrics()
        assert is_up(child, "self") and "exported_source" not in text
    assert names_of(text, "app") == {"a"} and {"a"}.isdisjoint(names_of(text, "self"))
    app.stop()


def test_over_a_unix_socket(children, tmp_path):
    other = Exporter(tmp_path, "--envoy.admin-address", IDLE, "--web.listen-address", f"unix://{tmp_path}/other.sock")
    children(other)
    other.wait_ready_target()
    child = merging(children, tmp_path, [{"name": "other", "url": f"unix://{tmp_path}/other.sock:/metrics"}])
    child.wait_ready_target()
    wait_for("it", lambda: is_up(child, "other"))
    assert "process_open_fds" in names_of(child.metrics(), "other")


def test_openmetrics_is_read_too(children, tmp_path):
    app = App("# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds A.\n"
              'a_seconds_total 2.5 # {trace_id="x"} 0.1\na_seconds_created 1.5\n# EOF\n',
              "application/openmetrics-text; version=1.0.0; charset=utf-8")
    child = merging(children, tmp_path, [{"name": "app", "url": app.url}])
    child.wait_ready_target()
    wait_for("it", lambda: names_of(child.metrics(), "app") == {"a_seconds_total"})
    assert "# UNIT a_seconds seconds\n" in raw(child, OPENMETRICS).decode()
    asked = app.asked[-1].lower()
    assert "accept: text/plain;version=0.0.4,application/openmetrics-text" in asked and "accept-encoding: identity" in asked
    app.stop()


def test_once(tmp_path):
    app = App(GOOD)
    file = tmp_path / "once.yaml"
    file.write_text(json.dumps({"merge": [{"name": "app", "url": app.url}, {"name": "gone", "url": "http://127.0.0.1:1/"}]}))
    done = run("once", "--config.file", file, "--envoy.admin-address", IDLE)
    assert done.returncode == 0, done.stderr
    families, _ = exposition.read(done.stdout)
    assert "a" in families and "poll of the source failed" in done.stderr
    assert 'envoy_exporter_merge_up{source="gone"} 0' in done.stdout
    app.stop()


def test_a_pushgateway_gets_them_too(children, tmp_path):
    gateway = Pushgateway(tmp_path)
    children(gateway)
    app, clashing = App(GOOD), App("# TYPE c gauge\nc{job=\"mine\"} 1\n")
    push = {"pushgateway": {"url": gateway.url, "interval": "200ms", "grouping": {"instance": "i"}}}
    child = merging(children, tmp_path, [{"name": "app", "url": app.url}, {"name": "clashing", "url": clashing.url}], push=push)
    wait_for("pushed", lambda: 'a{instance="i",job="envoy",source="app"} 1' in gateway.metrics())
    wait_for("said", lambda: "the source is not pushed" in child.text())
    text = gateway.metrics()
    assert "envoy_server_live" in text and 'source="clashing",' not in text.split("\nc{")[-1][:0] and "\nc{" not in text
    assert 'process_open_fds{instance="i",job="envoy"}' in text
    app.stop()
    clashing.stop()
