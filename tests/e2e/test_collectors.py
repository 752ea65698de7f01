"""Collectors against a real Envoy: what they say is what Envoy and openssl say."""

import json
import re
import subprocess
from datetime import datetime, timezone

import pytest

import exposition
from conftest import VERSIONS
from servers import Envoy, Exporter, cluster_name, get, promtool_check, run, wait_for

ALL = ["certificates", "endpoints", "listeners", "memory", "server_info"]
ON = [f"--collector.{name}" for name in ALL]
ENDPOINT = "envoy_cluster_endpoint_"


class Varied(Envoy):
    """Endpoints in every state of health, in places and priorities; cluster 0 keeps stats of each of its own."""

    def config(self, upstream_port, *others):
        config = super().config(upstream_port, *others)
        resources = config["static_resources"]
        for cluster in resources["clusters"]:
            cluster["outlier_detection"] = {"success_rate_minimum_hosts": 2, "success_rate_request_volume": 1,
                                            "interval": "0.2s", "consecutive_5xx": 3}
            endpoints = cluster["load_assignment"]["endpoints"]
            endpoints[0]["lb_endpoints"][0]["endpoint"]["hostname"] = "one.example.com"
            for at, health in enumerate(["HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"]):
                address = {"socket_address": {"address": f"127.0.0.{at + 2}", "port_value": upstream_port}}
                endpoints.append({
                    "locality": {"region": "eu", "zone": f"eu-{at}", "sub_zone": "rack"}, "priority": at + 1,
                    "lb_endpoints": [{"endpoint": {"address": address}, "health_status": health,
                                      "load_balancing_weight": at + 1}]})
        resources["clusters"][0]["track_cluster_stats"] = {"per_endpoint_stats": True}
        resources["clusters"][1]["alt_stat_name"] = "alt:name"
        return config


@pytest.fixture(params=VERSIONS)
def varied(request, tmp_path, upstream, certificates):
    server = Varied(request.param, tmp_path, upstream.port, tls=certificates.server)
    for number in range(2):
        for code in (200, 200, 404, 503):
            server.request(number, code)
    yield server
    server.kill()


def numbers(series):
    """Each series and its number; none stands twice."""
    assert all(len(values) == 1 for values in series.values())
    return {key: float(value) for key, (value,) in series.items()}


def read(exporter):
    """Types of families, numbers of series, and the text."""
    text = exporter.metrics()
    families, series = exposition.read(text)
    return {name: family.type for name, family in families.items()}, numbers(series), text


def endpoint_series(series, cluster):
    """What Envoy too says of the endpoints of a cluster."""
    wanted = ("envoy_cluster_name", cluster)
    return {
        key: value for key, value in series.items()
        if key[0].startswith(ENDPOINT) and wanted in key[1]
        and key[0].removeprefix(ENDPOINT) in (
            "cx_active", "cx_connect_fail", "cx_total", "healthy", "rq_active", "rq_error",
            "rq_pending_active", "rq_success", "rq_timeout", "rq_total")}


def start(children, tmp_path, envoy, *flags):
    exporter = Exporter(tmp_path, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", "0s", *flags)
    children(exporter)
    return exporter


def labelled(series, family):
    return {labels: value for (name, labels), value in series.items() if name == family}


def test_endpoints_are_those_of_envoys_own_stats(varied, children, tmp_path):
    # With the filter no stat of an endpoint comes, so that all of these are the collector's.
    alone = start(children, tmp_path, varied, "--collector.endpoints", "--envoy.filter", "^no such stat$")
    both = start(children, tmp_path, varied, "--collector.endpoints")
    tracked = cluster_name(0)

    def same():
        _, theirs = exposition.read(get(varied.admin + "/stats/prometheus")[2], strict=False)
        theirs = numbers(endpoint_series(theirs, tracked))
        assert len(theirs) >= 6 * 9
        for exporter in (alone, both):
            ours = endpoint_series(read(exporter)[1], tracked)
            if ours != theirs:
                raise ValueError(sorted(set(ours.items()) ^ set(theirs.items()), key=str)[:6])
        return True

    wait_for("the same numbers", same)
    families, series, text = read(both)
    promtool_check(text)
    # Nothing is counted as lost where the stats had it already.
    assert labelled(series, "envoy_exporter_dropped_series")[
        frozenset({("target", "envoy"), ("reason", "conflict")})] == 0
    totals = labelled(series, ENDPOINT + "rq_total")
    assert sum(value for labels, value in totals.items() if ("envoy_cluster_name", "alt_name") in labels) == 4

    places = [dict(labels) for labels in labelled(series, ENDPOINT + "info") if ("envoy_cluster_name", tracked) in labels]
    assert {place["envoy_endpoint_priority"] for place in places} == {"0", "1", "2", "3", "4", "5"}
    assert {place.get("envoy_endpoint_zone") for place in places} == {None, "eu-0", "eu-1", "eu-2", "eu-3", "eu-4"}
    flags = labelled(series, ENDPOINT + "health_flag")
    set_flags = {dict(labels)["envoy_endpoint_health_flag"] for labels, value in flags.items() if value == 1}
    assert {"eds_unhealthy", "eds_degraded"} <= set_flags, set_flags
    weights = {value for labels, value in labelled(series, ENDPOINT + "weight").items()}
    assert weights == {1, 2, 3, 4, 5}
    assert labelled(series, "envoy_cluster_circuit_breakers_default_max_connections")[
        frozenset({("envoy_cluster_name", tracked)})] == 100
    assert families[ENDPOINT + "rq_total"] == "counter" and families[ENDPOINT + "healthy"] == "gauge"


def test_only_the_clusters_that_are_wanted(varied, children, tmp_path):
    some = start(children, tmp_path, varied, "--collector.endpoints", "--collector.endpoints.include", r"svc-[12]\.",
                 "--envoy.filter", "^no such stat$")
    _, series, _ = read(some)
    found = {dict(labels)["envoy_cluster_name"] for labels in labelled(series, ENDPOINT + "weight")}
    assert found == {"alt_name", cluster_name(2)}


def test_certificates_end_when_openssl_says(varied, children, tmp_path, certificates):
    exporter = start(children, tmp_path, varied, "--mapping", "standard")
    families, series, text = read(exporter)

    def said(option):
        shown = subprocess.run(["openssl", "x509", "-noout", option, "-in", str(certificates.server[0])],
                               check=True, capture_output=True, text=True).stdout.strip()
        return shown.split("=", 1)[1]

    def time(option):
        parsed = datetime.strptime(said(option), "%b %d %H:%M:%S %Y GMT")
        return parsed.replace(tzinfo=timezone.utc).timestamp()

    expirations = labelled(series, "envoy_certificate_expiration_timestamp_seconds")
    (labels, expires), = expirations.items()
    labels = dict(labels)
    assert expires == time("-enddate")
    assert labels["serial"].lower().lstrip("0") == said("-serial").lower().lstrip("0")
    assert labels["kind"] == "chain" and labels["path"] == str(certificates.server[0])
    assert set(labels["names"].split(",")) == {"127.0.0.1", "localhost"}
    assert list(labelled(series, "envoy_certificate_valid_from_timestamp_seconds").values()) == [time("-startdate")]
    assert list(labelled(series, "envoy_certificate_first_expiration_timestamp_seconds").values()) == [expires]


def test_the_server_and_its_state(varied, children, tmp_path):
    exporter = start(children, tmp_path, varied)
    families, series, _ = read(exporter)
    (labels,) = labelled(series, "envoy_server_info")
    labels = dict(labels)
    assert labels["envoy_version"] == varied.version and re.fullmatch("[0-9a-f]{40}", labels["envoy_revision"])
    assert (labels["envoy_node_id"], labels["envoy_node_cluster"]) == ("test", "test")
    info = json.loads(get(varied.admin + "/server_info")[2])
    assert labels["envoy_hot_restart_version"] == info["hot_restart_version"]
    uptime = int(info["uptime_current_epoch"].removesuffix("s"))
    started = series["envoy_server_start_time_seconds", frozenset()]
    assert abs(datetime.now().timestamp() - uptime - started) < 3

    def state():
        states = labelled(read(exporter)[1], "envoy_server_current_state")
        assert sum(states.values()) == 1
        return next(dict(labels)["envoy_server_state"] for labels, value in states.items() if value == 1)

    assert state() == "LIVE"
    asked = 'envoy_exporter_collector_runs_total{collector="server_info",outcome="success",target="envoy"} '
    assert asked + "1\n" in exporter.metrics()
    assert get(varied.admin + "/healthcheck/fail", method="POST")[0] == 200
    # The stats show it with their next flush, and then it is asked for.
    wait_for("another state", lambda: state() == "DRAINING")
    assert asked + "2\n" in exporter.metrics()


def test_everything_by_prometheus_rules(varied, children, tmp_path):
    exporter = start(children, tmp_path, varied, "--mapping", "standard", *ON)
    _, series, text = read(exporter)
    assert promtool_check(text) == []
    assert labelled(series, "envoy_exporter_undescribed_stats") == {frozenset({("target", "envoy")}): 0}
    success = labelled(series, "envoy_exporter_collector_success")
    assert {dict(labels)["collector"] for labels, value in success.items() if value == 1} == set(ALL)
    listeners = {dict(labels)["listener_name"] for labels in labelled(series, "envoy_listener_info")}
    assert listeners == {"in", "tls"}
    memory = series["envoy_memory_heap_size_bytes", frozenset()]
    assert memory > 1_000_000


def test_a_capture_has_what_collectors_find(varied, tmp_path):
    folder = tmp_path / "saved"
    saved = run("capture", folder, "--envoy.admin-address", varied.admin)
    assert saved.returncode == 0, saved.stderr
    assert (folder / "memory.json").exists()
    shown = [run("once", "--envoy.admin-address", f"file://{folder}", *ON) for _ in range(2)]
    texts = [[line for line in each.stdout.splitlines() if re.match(r"envoy_(?!exporter|up)", line)] for each in shown]
    assert texts[0] == texts[1]
    for family in ("certificate_expiration", "cluster_endpoint_weight", "listener_info", "memory_allocated", "server_info"):
        assert any(line.startswith("envoy_" + family) for line in texts[0]), family
