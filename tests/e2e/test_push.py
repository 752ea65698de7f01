"""Pushing to a real Pushgateway, and by remote write to a real Prometheus; a receiver that does as told
shows only what no real one does on demand."""

import itertools
import json
import shutil
import signal
import urllib.request

import exposition
import pytest
import remote_write
from conftest import CAPTURES
from servers import Exporter, Prometheus, Pushgateway, cluster_name, free_port, get, run, wait_for

IDLE = CAPTURES / "1.40.0/idle"
# As libxcrypt makes it of it.
PASSWORD, HASH = "pencil", "$2y$05$aaaaaaaaaaaaaaaaaaaaauycvAZ6NbFznthGArKnEmkEy.manR1FW"
EXTERNAL = {"job": "envoy", "instance": "edge-1"}


def exporter(directory, children, push, target=f"file://{IDLE}", interval="200ms", port=None, **more):
    """The program with this part of a configuration."""
    file = directory / "exporter.yaml"
    file.write_text(json.dumps({"push": push, "poll": {"interval": interval}, **more}))
    flags = ["--config.file", file, "--envoy.admin-address", target]
    child = Exporter(directory, *flags, port=port)
    children(child)
    return child


@pytest.fixture
def tiny(tmp_path):
    """The address of a capture of one gauge."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "gauges.json").write_text('{"stats":[{"name":"server.live","value":1}]}')
    for name in ("counters", "text_readouts"):
        (folder / f"{name}.json").write_text('{"stats":[]}')
    (folder / "histograms.json").write_text('{"stats":[{"histograms":{"supported_percentiles":[],"details":[]}}]}')
    return f"file://{folder}"


def own(child, name, **labels):
    """The value of an own metric; nothing where it is not there."""
    families, _ = exposition.read(child.metrics())
    for family in families.values():
        for sample_name, pairs, value in family.samples:
            if sample_name == name and labels.items() <= dict(pairs).items():
                return float(value)
    return None


def samples(text, drop=()):
    """Numbers of the target by name and labels."""
    out = {}
    for (name, labels), values in exposition.read(text, strict=False)[1].items():
        if name.startswith("envoy_") and not name.startswith(("envoy_exporter_", "envoy_up")):
            assert len(values) == 1
            labels = [(label, value) for label, value in labels if label not in drop and value != ""]
            out[(name, exposition.canonical(labels))] = float(values[0])
    return out


def test_a_pushgateway_has_what_a_scrape_shows(tmp_path, children):
    gateway = Pushgateway(tmp_path)
    children(gateway)
    grouping = {"instance": "edge 1", "path": "/a/b", "empty": "", "dots": ".."}
    for form, method in (("text", "PUT"), ("protobuf", "POST")):
        child = exporter(tmp_path, children, {"pushgateway": {
            "url": gateway.url, "job": "edge/proxies", "grouping": grouping, "interval": "300ms",
            "format": form, "method": method}})
        # The Pushgateway says nothing of labels that are empty.
        want = {"job": "edge/proxies", **grouping, "empty": ""}
        groups = wait_for("a group", gateway.groups)
        assert groups == [want], groups
        pushed = wait_for("the series", lambda: samples(gateway.metrics(), drop=[*want]))
        scraped = samples(child.metrics())
        assert pushed == scraped, (form, sorted(map(str, pushed.items() ^ scraped.items()))[:10])
        assert len(scraped) > 500
        assert 'push_failure_time_seconds{dots="..",empty="",instance="edge 1",job="edge/proxies",path="/a/b"} 0' \
            in gateway.metrics()
        before = own(child, "envoy_exporter_push_requests_total", push="pushgateway", outcome="success")
        wait_for("more pushes", lambda: own(
            child, "envoy_exporter_push_requests_total", push="pushgateway", outcome="success") > before)
        assert child.stop() == 0
        assert gateway.groups() == [], "the group is taken away at the end"


def test_a_pushgateway_that_restarts_has_the_group_again(tmp_path, children):
    gateway = Pushgateway(tmp_path)
    children(gateway)
    child = exporter(tmp_path, children, {"pushgateway": {
        "url": gateway.url, "interval": "300ms", "delete_on_shutdown": False}})
    wait_for("a group", gateway.groups)
    gateway.kill()
    wait_for("failures are counted", lambda: own(
        child, "envoy_exporter_push_requests_total", push="pushgateway", outcome="connect") >= 2)
    again = Pushgateway(tmp_path, port=gateway.port)
    children(again)
    wait_for("a group again", again.groups)
    assert child.stop() == 0
    assert again.groups() == [{"job": "envoy"}], "the group stays"
    # Failures of one kind are one line, not one each.
    text = child.text()
    assert text.count("push failed") == 1 and "push works again" in text, text


def test_passwords_and_certificates(tmp_path, children, certificates):
    folder = tmp_path / "tls"
    folder.mkdir()
    for name, source in (("server.pem", certificates.server[0]), ("server.key", certificates.server[1])):
        shutil.copy(source, folder / name)
    shutil.copy(certificates.authority, folder / "ca.pem")
    (folder / "web.yaml").write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key,"
        " client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}\n"
        f"basic_auth_users: {{amy: {HASH}}}\n")
    gateway = Pushgateway(tmp_path, web_config=folder / "web.yaml")
    children(gateway)
    password = tmp_path / "password"
    password.write_text("wrong\n")
    # Any certificate of the authority is one of a client here.
    client = {"cert_file": "tls/server.pem", "key_file": "tls/server.key"}
    push = {"url": gateway.url, "interval": "300ms", "basic_auth": {"username": "amy", "password_file": "password"},
            "tls_config": {"ca_file": "tls/ca.pem", **client}}
    child = exporter(tmp_path, children, {"pushgateway": push})

    def count(outcome):
        return own(child, "envoy_exporter_push_requests_total", push="pushgateway", outcome=outcome)

    wait_for("the wrong password is refused", lambda: count("rejected"))
    assert "status 401" in child.text()
    assert own(child, "envoy_exporter_push_last_success_timestamp_seconds") is None
    # The file is read each time.
    password.write_text(f"{PASSWORD}\n")
    wait_for("the right one is taken", lambda: count("success"))
    before = count("success")
    password.unlink()
    wait_for("a file that is gone is told", lambda: "cannot be used" in child.text())
    wait_for("the old one is used", lambda: count("success") > before)
    assert str(password) in child.text() and PASSWORD not in child.text()
    child.kill()

    # No certificate of ours, and an authority that is not the server's.
    password.write_text(PASSWORD)
    for tls in ({"ca_file": "tls/ca.pem"}, {**client, "ca_file": str(certificates.other)}):
        child = exporter(tmp_path, children, {"pushgateway": {**push, "tls_config": tls}})
        wait_for("no connection", lambda: (count("connect") or 0) + (count("read") or 0))
        assert not count("success")
        child.kill()
    assert "UnknownIssuer" in child.text() or "BadSignature" in child.text(), child.text()
    child = exporter(tmp_path, children, {"pushgateway": {
        **push, "tls_config": {**client, "insecure_skip_verify": True}}})
    wait_for("any certificate will do", lambda: count("success"))


def test_what_the_pushgateway_refuses_is_told(tmp_path, children):
    gateway = Pushgateway(tmp_path)
    children(gateway)
    # Another group says that our counter is a gauge.
    body = b"# TYPE envoy_cluster_upstream_rq_total gauge\nenvoy_cluster_upstream_rq_total 1\n"
    request = urllib.request.Request(gateway.url + "/metrics/job/other", data=body, method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    child = exporter(tmp_path, children, {"pushgateway": {"url": gateway.url, "interval": "300ms"}})
    wait_for("it is refused", lambda: own(
        child, "envoy_exporter_push_requests_total", push="pushgateway", outcome="rejected"))
    text = child.text()
    assert "status 400" in text and "envoy_cluster_upstream_rq_total" in text, text
    assert not [key for key in samples(gateway.metrics()) if ("job", "envoy") in key[1]]


def test_a_label_of_the_grouping_key_is_not_overwritten(tmp_path, children):
    gateway = Pushgateway(tmp_path)
    children(gateway)
    child = exporter(tmp_path, children, {"pushgateway": {
        "url": gateway.url, "interval": "300ms", "grouping": {"envoy_cluster_name": "x"}}})
    wait_for("it is told", lambda: own(
        child, "envoy_exporter_push_requests_total", push="pushgateway", outcome="clash"))
    assert "envoy_cluster_name" in child.text()
    assert gateway.groups() == []


def receiver(directory, port=None, *flags):
    return Prometheus(
        directory, [], jobs=[], port=port,
        extra=["--web.enable-remote-write-receiver", "--enable-feature=native-histograms", *flags])


def write_to(prometheus, **more):
    url = prometheus.url + "/api/v1/write"
    return {"remote_write": {"url": url, "external_labels": EXTERNAL, **more}}


def test_prometheus_has_what_a_scrape_shows(newest_envoy, tmp_path, children):
    prometheus = receiver(tmp_path)
    children(prometheus)
    child = exporter(
        tmp_path, children, write_to(prometheus, max_samples_per_send=300), newest_envoy.admin,
        poll={"interval": "200ms", "stale_after": "3s"})
    for number, code in [(0, 200)] * 5 + [(1, 503)]:
        newest_envoy.request(number, code)

    def settled():
        have = {}
        for metric, value in prometheus.query('{job="envoy"}'):
            name = metric.pop("__name__")
            assert metric.pop("job") == "envoy" and metric.pop("instance") == "edge-1"
            if not name.startswith(("envoy_exporter_", "envoy_up", "process_")):
                have[(name, exposition.canonical(metric.items()))] = value
        want = samples(child.metrics())
        different = sorted(map(str, want.items() ^ have.items()))
        # What a proxy counts of the time goes on.
        different = [line for line in different if not any(part in line for part in ("uptime", "_loop_", "memory"))]
        if different or len(want) < 500:
            raise ValueError((len(want), len(have), different[:10]))
        return True

    wait_for("every sample in Prometheus equals the scrape's", settled)
    code = 'envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="%s"}' % cluster_name(1)
    wait_for("the poll behind the requests is there", lambda: prometheus.value(code) == 1)
    assert prometheus.value("envoy_up") == 1
    assert prometheus.value("envoy_exporter_build_info") == 1
    assert own(child, "envoy_exporter_push_samples_total", fate="rejected") == 0

    # Envoy is gone: that it is down shows at once, its series end when its data is too old to be served.
    newest_envoy.kill()
    wait_for("it is down", lambda: prometheus.value("envoy_up") == 0)
    wait_for("its series end", lambda: prometheus.query('{__name__=~"envoy_(cluster|server|http).*"}') == [])
    assert prometheus.value("envoy_up") == 0
    assert child.stop() == 0


def test_series_end_at_once(newest_envoy, tmp_path, children):
    folder = tmp_path / "capture"
    shutil.copytree(IDLE, folder)
    prometheus = receiver(tmp_path)
    children(prometheus)
    poll = {"interval": "200ms", "stale_after": "1s"}
    child = exporter(
        tmp_path, children, write_to(prometheus), f"file://{folder}", poll=poll)
    name = "envoy_server_live"
    wait_for("the series are there", lambda: prometheus.value(name) is not None)
    everything = 'count({job="envoy",__name__!~"envoy_exporter_.*|process_.*"})'
    all_before = prometheus.value(everything)

    # Some stats are gone.
    def listeners(text):
        return len([name for name, _ in samples(text) if name.startswith("envoy_listener_")])

    def shown():
        return prometheus.value('count({job="envoy",__name__=~"envoy_listener_.*"})') or 0

    before = listeners(child.metrics())
    assert shown() == before > 20
    counters = json.loads((folder / "counters.json").read_text())
    kept = [stat for stat in counters["stats"] if not stat["name"].startswith("listener.")]
    (folder / "counters.json").write_text(json.dumps({"stats": kept}))
    after = wait_for("they are not served", lambda: [
        count for count in [listeners(child.metrics())] if count < before])[0]
    wait_for("they end", lambda: shown() == after)
    assert prometheus.value(everything) == all_before - (before - after)
    # And come back.
    (folder / "counters.json").write_text(json.dumps(counters))
    wait_for("they are back", lambda: shown() == before)

    # The target cannot be read: its series end when they are no longer served.
    shutil.move(folder, tmp_path / "away")
    wait_for("it is down", lambda: prometheus.value("envoy_up") == 0)
    wait_for("all end", lambda: prometheus.value(name) is None)
    assert prometheus.query('{job="envoy",__name__=~"envoy_cluster_.*"}') == []
    assert prometheus.value("envoy_up") == 0
    assert "server_live" not in child.metrics()
    shutil.move(tmp_path / "away", folder)
    wait_for("they are back", lambda: prometheus.value(name) is not None)
    assert prometheus.value("envoy_up") == 1

    # A clean stop ends everything, own metrics too.
    assert child.stop() == 0
    assert prometheus.query('{job="envoy"}') == []


def test_nothing_is_lost_or_twice_when_the_receiver_restarts(tmp_path, children):
    prometheus = receiver(tmp_path)
    children(prometheus)
    child = exporter(tmp_path, children, write_to(prometheus))
    wait_for("some polls", lambda: (prometheus.value("count_over_time(envoy_server_live[1m])") or 0) >= 5)
    prometheus.kill()
    wait_for("polls wait", lambda: own(child, "envoy_exporter_push_queue_polls") > 5)
    again = receiver(tmp_path, prometheus.port)
    children(again)
    wait_for("none waits", lambda: own(child, "envoy_exporter_push_queue_polls") <= 1)
    wait_for("more polls", lambda: own(
        child, "envoy_exporter_polls_total", outcome="success") > 20)
    child.stop()
    counted = again.value('count_over_time(envoy_server_live[1m])')
    # The marker at the end is no sample for PromQL. How many polls there were is in the last own sample.
    made = again.value('max_over_time(envoy_exporter_polls_total{outcome="success"}[1m])')
    assert counted == made > 20
    times = [float(time) for time, _ in points(again, "envoy_server_live[1m]")]
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert min(gaps) > 0.05, "each poll has its own time, also those that waited"
    assert metric(again, "prometheus_tsdb_out_of_order_samples_total") == 0
    assert "out of order" not in again.text() + prometheus.text()


def points(prometheus, promql):
    status, _, text = get(f"{prometheus.url}/api/v1/query?query={promql}")
    assert status == 200, text
    (row,) = json.loads(text)["data"]["result"]
    return row["values"]


def metric(prometheus, name):
    lines = get(prometheus.url + "/metrics")[2].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))


def test_native_histograms(newest_envoy, tmp_path, children):
    prometheus = receiver(tmp_path)
    children(prometheus)
    child = exporter(
        tmp_path, children, write_to(prometheus), newest_envoy.admin, histograms={"form": "both"})
    for _ in range(20):
        newest_envoy.request(0, 200)
    labels = '{envoy_http_conn_manager_prefix="in.0.0.0.0_80"}'
    name = "envoy_http_downstream_rq_time"
    wait_for("native", lambda: prometheus.value(f"histogram_count({name}{labels})") == 20)
    assert prometheus.value(f"{name}_count{labels}") == 20
    assert prometheus.value(f'{name}_bucket{{le="+Inf",envoy_http_conn_manager_prefix="in.0.0.0.0_80"}}') == 20
    classic, native = prometheus.value(f"{name}_sum{labels}"), prometheus.value(f"histogram_sum({name}{labels})")
    assert classic == native > 0
    assert child.stop() == 0
    assert prometheus.query(f"histogram_count({name})") == [] and prometheus.query(f"{name}_count") == []


def test_requests_are_small_and_whole(tmp_path, children):
    taken = remote_write.Receiver()
    rules = [
        {"source_labels": ["__name__"], "regex": "envoy_listener_.*", "action": "drop"},
        {"regex": "instance", "action": "labeldrop"},
        {"source_labels": ["__name__"], "regex": "envoy_server_(.*)", "target_label": "__name__", "replacement": "srv_$1"},
    ]
    token = tmp_path / "token"
    token.write_text("t0ken\n")
    child = exporter(tmp_path, children, {"remote_write": {
        "url": taken.url, "external_labels": {**EXTERNAL, "Zone": "eu"}, "max_samples_per_send": 100,
        "max_bytes_per_send": "8KiB", "write_relabel_configs": rules,
        "authorization": {"credentials_file": "token"}, "headers": {"X-Scope-OrgID": "tenant"}}})
    wait_for("metadata", taken.metadata)
    child.stop()
    head = taken.heads[0]
    assert head["x-prometheus-remote-write-version"] == "0.1.0" and head["content-encoding"] == "snappy"
    assert head["content-type"] == "application/x-protobuf" and head["user-agent"].startswith("envoy-exporter/")
    assert head["authorization"] == "Bearer t0ken" and head["x-scope-orgid"] == "tenant"
    sizes = [len(series) + len(metadata) for series, metadata in taken.requests]
    assert max(sizes) <= 100 and len(sizes) > 10

    values = {}
    for labels, value, time in taken.series():
        labels = dict(labels)
        assert labels.pop("job") == "envoy" and labels.pop("Zone") == "eu" and "instance" not in labels
        name = labels.pop("__name__")
        values.setdefault((name, exposition.canonical(labels.items())), []).append((time, value))
    for series, points in values.items():
        times = [time for time, _ in points]
        assert times == sorted(set(times)), series
        assert remote_write.is_stale(points[-1][1]) and not any(remote_write.is_stale(value) for _, value in points[:-1])
    have = {key: points[0][1] for key, points in values.items() if key[0].startswith(("envoy_", "srv_"))}
    have = {key: value for key, value in have.items() if not key[0].startswith(("envoy_exporter_", "envoy_up"))}
    want = {}
    text = run("once", "--envoy.admin-address", f"file://{IDLE}").stdout
    for (name, labels), value in samples(text).items():
        if not name.startswith("envoy_listener_"):
            want[(name.replace("envoy_server_", "srv_"), labels)] = value
    assert have == want, sorted(map(str, have.items() ^ want.items()))[:10]
    kinds = {family: (kind, text) for family, kind, text in taken.metadata()}
    assert kinds["envoy_server_live"][0] == 2 and kinds["envoy_cluster_upstream_rq_total"][0] == 1
    assert kinds["envoy_up"][1].startswith("1 when")
    taken.stop()


def test_what_a_receiver_says(tiny, tmp_path, children):
    """Throttled with a time to come back, unavailable, refused for good, then well."""
    answers = {0: (429, {"Retry-After": "1"}), 1: (503, {}), 2: (400, {}), 3: (302, {"Location": "http://127.0.0.1:1/"})}
    taken = remote_write.Receiver(lambda number: answers.get(number, (204, {})))
    child = exporter(tmp_path, children, {"remote_write": {
        "url": taken.url, "max_samples_per_send": 100000, "max_bytes_per_send": "16MiB", "metadata_interval": "0s"}}, tiny)
    wait_for("it is taken in the end", lambda: len(taken.requests) >= 3)

    def count(outcome):
        return own(child, "envoy_exporter_push_requests_total", push="remote_write", outcome=outcome)

    assert [count(outcome) for outcome in ("throttled", "unavailable", "rejected", "redirect")] == [1, 1, 1, 1]
    # The poll that was refused is lost and counted, so is the next one.
    lost = own(child, "envoy_exporter_push_samples_total", fate="rejected")
    refused = [len(series) for series, _ in taken.refused]
    assert refused[0] == refused[1] == refused[2] and lost == refused[2] + refused[3]
    times = [series[0][2] for series, _ in taken.requests]
    assert times == sorted(set(times))
    first, second = taken.refused[2][0][0][2], taken.refused[3][0][0][2]
    assert first < second < times[0]
    child.stop()
    assert taken.metadata() == []
    taken.stop()


def test_the_queue_is_bounded_and_keeps_the_newest(tiny, tmp_path, children):
    away = [True]
    taken = remote_write.Receiver(lambda _: (503, {}) if away[0] else (204, {}))
    child = exporter(tmp_path, children, {"remote_write": {
        "url": taken.url, "queue": {"polls": 3}, "metadata_interval": "0s"}}, tiny, interval="100ms")
    wait_for("polls are dropped", lambda: own(child, "envoy_exporter_push_samples_total", fate="queue_full"))
    for _ in range(10):
        assert own(child, "envoy_exporter_push_queue_polls") <= 3
    assert own(child, "envoy_exporter_push_queue_limit_polls") == 3
    polls = own(child, "envoy_exporter_polls_total", outcome="success")
    away[0] = False
    wait_for("it goes on", lambda: own(child, "envoy_exporter_push_samples_total", fate="sent"))
    wait_for("nothing waits", lambda: own(child, "envoy_exporter_push_queue_polls") <= 1)
    assert child.text().count("the queue of remote write is full") == 1
    live = [(time, value) for labels, value, time in taken.series() if dict(labels)["__name__"] == "envoy_server_live"]
    counted = [value for labels, value, _ in taken.series()
               if dict(labels)["__name__"] == "envoy_exporter_polls_total" and dict(labels)["outcome"] == "success"]
    # The newest three, and not the first.
    assert counted[0] >= polls - 4 and counted[0] > 1
    assert [time for time, _ in live] == sorted({time for time, _ in live})
    child.stop()
    taken.stop()


def test_an_end_without_a_receiver_takes_no_longer_than_it_may(tmp_path, children):
    child = exporter(tmp_path, children, {
        "remote_write": {"url": f"http://127.0.0.1:{free_port()}/write"},
        "pushgateway": {"url": f"http://127.0.0.1:{free_port()}", "interval": "300ms"}})
    wait_for("it waits", lambda: own(child, "envoy_exporter_push_queue_polls") > 2)
    assert child.stop(timeout=8) == 0
    assert "before all samples are sent" in child.text()


def test_a_reload_keeps_what_waits(tiny, tmp_path, children):
    """The queue outlives other settings; another receiver gets everything from the start, the old one its end."""
    away = [True]
    first = remote_write.Receiver(lambda _: (503, {}) if away[0] else (204, {}))
    second = remote_write.Receiver()
    push = {"remote_write": {"url": first.url, "external_labels": EXTERNAL, "metadata_interval": "0s"}}
    child = exporter(tmp_path, children, push, tiny)
    wait_for("polls wait", lambda: own(child, "envoy_exporter_push_queue_polls") > 3)

    def reload(push, **more):
        (tmp_path / "exporter.yaml").write_text(json.dumps({"push": push, "poll": {"interval": "200ms"}, **more}))
        before = own(child, "envoy_exporter_config_reloads_total", outcome="success")
        child.process.send_signal(signal.SIGHUP)
        wait_for("it is reloaded", lambda: own(
            child, "envoy_exporter_config_reloads_total", outcome="success") > before)

    reload({"remote_write": {**push["remote_write"], "external_labels": {"job": "other"}, "concurrency": 1}})
    away[0] = False
    wait_for("none waits", lambda: own(child, "envoy_exporter_push_queue_polls") <= 1)

    def live(receiver, job):
        return [(time, value) for labels, value, time in receiver.series()
                if dict(labels)["__name__"] == "envoy_server_live" and dict(labels).get("job") == job]

    wait_for("the new labels", lambda: live(first, "other"))
    old = live(first, "envoy")
    times = [time for time, _ in old + live(first, "other")]
    assert len(old) > 3 and remote_write.is_stale(old[-1][1]), "what waited has the labels of its time, and ends"
    assert not any(remote_write.is_stale(value) for _, value in old[:-1])
    assert times[:len(old) - 1] == sorted(set(times[:len(old) - 1]))
    assert old[-1][0] == live(first, "other")[0][0], "the one ends where the other begins"

    reload({"remote_write": {"url": second.url, "metadata_interval": "0s"}})
    wait_for("the second receiver has it", lambda: live(second, None))
    wait_for("it ends at the first", lambda: remote_write.is_stale(live(first, "other")[-1][1]))
    reload({})
    wait_for("it ends at the second", lambda: remote_write.is_stale(live(second, None)[-1][1]))
    wait_for("nothing is left of it", lambda: own(child, "envoy_exporter_push_queue_polls") is None)
    child.stop()
    first.stop()
    second.stop()


def test_a_reload_moves_the_group(tiny, tmp_path, children):
    gateway = Pushgateway(tmp_path)
    children(gateway)
    push = {"url": gateway.url, "interval": "300ms"}
    child = exporter(tmp_path, children, {"pushgateway": push}, tiny)
    wait_for("a group", lambda: gateway.groups() == [{"job": "envoy"}])
    (tmp_path / "exporter.yaml").write_text(json.dumps({"push": {"pushgateway": {**push, "job": "other"}}}))
    child.process.send_signal(signal.SIGHUP)
    wait_for("it has moved", lambda: gateway.groups() == [{"job": "other"}])
    child.stop()
    assert gateway.groups() == []
