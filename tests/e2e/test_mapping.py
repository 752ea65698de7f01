"""Profiles, users' tables and relabeling, with promtool and a real Prometheus as judges."""

import json
import math
import re

import exposition
import parity
import pytest
from conftest import CAPTURES, capture_names
from servers import ROOT, Exporter, Prometheus, promtool_check, run, wait_for

IDLE = f"file://{CAPTURES}/1.40.0/idle"


def once(address, *flags):
    done = run("once", "--envoy.admin-address", address, "--log.level", "error", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("profiles", ["standard", "standard,basic"])
@pytest.mark.parametrize("name", capture_names())
def test_promtool_has_nothing_to_say_of_standard(name, profiles, captures):
    text = once(f"file://{captures(name)}", "--mapping", profiles)
    families, series = exposition.read(text)
    assert len(series) > 100
    assert promtool_check(text) == []


@pytest.mark.parametrize("name", ["1.36.4/edge", "1.40.0/edge", "1.40.0/filters"])
def test_standard_has_the_numbers_of_native(name, captures):
    """Milliseconds become seconds exactly: counts stay, bounds and sums are divided."""
    address = f"file://{captures(name)}"
    native, _ = exposition.read(once(address))
    standard, _ = exposition.read(once(address, "--mapping", "standard"))
    compared = 0
    for old, new, divisor in [
        ("envoy_cluster_upstream_rq_time", "envoy_cluster_upstream_rq_time_seconds", 1000),
        ("envoy_cluster_upstream_cx_connect_ms", "envoy_cluster_upstream_cx_connect_seconds", 1000),
        ("envoy_cluster_upstream_cx_length_ms", "envoy_cluster_upstream_cx_length_seconds", 1000),
        ("envoy_http_downstream_rq_time", "envoy_http_downstream_rq_time_seconds", 1000),
        ("envoy_server_initialization_time_ms", "envoy_server_initialization_time_seconds", 1000),
    ]:
        assert len(native[old].samples) == len(standard[new].samples)
        for (name1, labels1, value1), (name2, labels2, value2) in zip(native[old].samples, standard[new].samples):
            assert name1[len(old):] == name2[len(new):]
            if name1.endswith("_sum"):
                assert math.isclose(float(value1) / divisor, float(value2), rel_tol=1e-15)
            else:
                assert value1 == value2
            bounds = [float(dict(labels).get("le", "0")) for labels in (labels1, labels2)]
            assert bounds[0] / divisor == bounds[1]
            compared += 1
    assert compared > 100
    # What has no unit is the same number under another name.
    assert [v for _, _, v in native["envoy_cluster_membership_total"].samples] == [
        v for _, _, v in standard["envoy_cluster_membership"].samples]
    days = native["envoy_server_days_until_first_cert_expiring"].samples[0][2]
    seconds = standard["envoy_server_until_first_cert_expiring_seconds"].samples[0][2]
    assert int(seconds) == int(days) * 86400


@pytest.mark.parametrize("name", capture_names())
def test_every_stat_of_the_captures_is_described(name, captures, capsys):
    done = run("coverage", "--envoy.admin-address", f"file://{captures(name)}")
    assert done.returncode == 0, done.stderr
    stats, described = re.match(r"(\d+) stats: (\d+) described", done.stdout).groups()
    with capsys.disabled():
        print(f"\n{name}: {described} of {stats} stats described", end=" ")
    # What a user named is for the user to describe.
    assert int(described) >= int(stats) * 0.99
    for area in ("cluster", "http", "listener", "server"):
        line = re.search(rf"^{area} .*$", done.stdout, re.M)
        assert line is None or line.group().endswith("100 %"), line


def test_basic_is_about_a_hundred_families(captures):
    text = once(f"file://{captures('1.40.0/edge')}", "--mapping", "standard,basic")
    families = [name for name in exposition.read(text)[0] if not parity.OF_OUR_OWN.fullmatch(name)]
    assert 80 <= len(families) <= 125
    labels = {label for line in text.splitlines() for label in re.findall(r'[{,](\w+)="', line)}
    assert "response_code_class" in labels and "response_code" not in labels


RELABELING = {
    "replace": [{"source_labels": ["envoy_cluster_name"], "regex": "(.*)", "target_label": "c", "replacement": "x-$1"}],
    "named groups": [{"source_labels": ["__name__"], "regex": "envoy_(?P<area>[a-z]+)_.*", "target_label": "area", "replacement": "${area}!"}],
    "whole match only": [{"source_labels": ["__name__"], "regex": "cluster", "action": "drop"}],
    "keep": [{"source_labels": ["__name__"], "regex": "envoy_(cluster|server)_.*", "action": "keep"}],
    "drop": [{"source_labels": ["__name__"], "regex": "envoy_cluster_.*|process_.*", "action": "drop"}],
    "a separator": [{"source_labels": ["__name__", "envoy_cluster_name"], "separator": "@", "regex": "envoy_cluster_upstream_.*@.+", "action": "keep"}],
    "hashmod": [
        {"source_labels": ["__name__"], "modulus": 7, "target_label": "shard", "action": "hashmod"},
        {"source_labels": ["shard"], "regex": "3", "action": "keep"},
    ],
    "labelmap": [{"regex": "envoy_(.+)", "replacement": "e_$1", "action": "labelmap"}],
    "labeldrop": [{"regex": "envoy_response_code.*", "action": "labeldrop"}, {"source_labels": ["__name__"], "regex": ".*_xx|.*_rq", "action": "drop"}],
    "labelkeep": [{"regex": "__name__|envoy_cluster_name|envoy_http_conn_manager_prefix|le|job|instance|envoy_listener_address|envoy_worker_id|envoy_response_code_class|code|handler|outcome|target|type|reason|version|revision|rustc_version", "action": "labelkeep"}],
    "case": [
        {"source_labels": ["envoy_cluster_name"], "target_label": "upper", "action": "uppercase"},
        {"source_labels": ["upper"], "target_label": "lower", "action": "lowercase"},
    ],
    "equal": [
        {"source_labels": ["__name__"], "regex": "envoy_server_.*", "target_label": "same", "replacement": "1"},
        {"source_labels": ["__name__"], "regex": "envoy_.*", "target_label": "one", "replacement": "1"},
        {"source_labels": ["one"], "target_label": "same", "action": "dropequal"},
    ],
    "keepequal": [
        {"source_labels": ["envoy_cluster_name"], "target_label": "other", "regex": "(.+)"},
        {"source_labels": ["envoy_cluster_name"], "target_label": "other", "action": "keepequal"},
    ],
    "renamed": [{"source_labels": ["__name__"], "regex": "envoy_(.*)", "target_label": "__name__", "replacement": "proxy_$1"}],
    "buckets": [{"source_labels": ["__name__", "le"], "regex": ".*_bucket;(0.5|1|\\d{4,}.*)", "action": "drop"}],
    "no buckets": [{"source_labels": ["__name__"], "regex": ".*_bucket", "action": "drop"}],
    "no sums": [{"source_labels": ["__name__"], "regex": ".*_sum", "action": "drop"}],
    "an empty value": [{"source_labels": ["envoy_cluster_name"], "target_label": "envoy_cluster_name", "regex": "x.*", "replacement": ""}],
    "an unknown group": [{"source_labels": ["__name__"], "target_label": "odd", "replacement": "a$2b${nope}c$$"}],
}


def test_relabeling_is_prometheus_own(tmp_path, children, captures):
    """The same rules in a real Prometheus, over what is not relabeled, give the same series."""
    address = f"file://{captures('1.40.0/idle')}"
    plain = Exporter(tmp_path, "--envoy.admin-address", address)
    children(plain)
    jobs = []
    for number, rules in enumerate(RELABELING.values()):
        config = tmp_path / f"relabel-{number}.yaml"
        config.write_text(json.dumps({"metric_relabel_configs": rules}))
        ours = Exporter(tmp_path, "--envoy.admin-address", address, "--config.file", config)
        children(ours)
        for job, port, theirs in [(f"ours-{number}", ours.port, []), (f"theirs-{number}", plain.port, rules)]:
            jobs.append({
                "job_name": job, "honor_labels": True, "scrape_interval": "1s",
                "static_configs": [{"targets": [f"127.0.0.1:{port}"]}], "metric_relabel_configs": theirs,
            })
    prometheus = Prometheus(tmp_path, [], jobs=jobs)
    children(prometheus)

    def series(job):
        found = {}
        for metric, value in prometheus.query(f'{{job="{job}"}}'):
            labels = {label: text for label, text in metric.items() if label not in ("job", "instance")}
            # Rules of the configuration are for what is bridged, and not for our own metrics.
            name = labels.get("__name__", "")
            if re.match(r"(envoy|proxy)_(exporter_|up$)|process_|up$|scrape_", name):
                continue
            found[frozenset(labels.items())] = value
        return found

    wait_for("every job is scraped", lambda: len(prometheus.query("up == 1")) == len(jobs))
    different = {}
    total = 0
    for number, name in enumerate(RELABELING):
        def compared(number=number):
            ours, theirs = series(f"ours-{number}"), series(f"theirs-{number}")
            if not theirs or ours != theirs:
                raise ValueError((sorted(map(str, ours.items() ^ theirs.items()))[:6], len(ours), len(theirs)))
            return ours

        try:
            total += len(wait_for(name, compared, 5))
        except AssertionError as error:
            different[name] = str(error)
    assert not different, json.dumps(different, indent=1)
    assert total > 3000


def test_series_that_collide_are_told_and_counted(tmp_path, captures):
    config = tmp_path / "c.yaml"
    config.write_text("metric_relabel_configs: [{regex: envoy_worker_id, action: labeldrop}]\n")
    address = f"file://{captures('1.40.0/edge')}"
    done = run("check", "--config.file", config, "--envoy.admin-address", address)
    assert done.returncode == 0
    assert "warning: envoy_listener_worker_downstream_cx_total: two stats, or more, end in one series of it" in done.stdout
    text = once(address, "--config.file", config)
    families, _ = exposition.read(text)
    dropped = dict(
        (dict(labels)["reason"], int(value))
        for _, labels, value in families["envoy_exporter_dropped_series"].samples)
    assert dropped["conflict"] > 0
    # A table joins them instead, and nothing is lost.
    table = tmp_path / "t.yaml"
    table.write_text(
        "rules:\n  - {stat: 'listener.worker_{what}', labels: {envoy_worker_id: ''}, join: sum}\n"
        "  - {stat: 'listener.admin.worker_{what}', labels: {envoy_worker_id: ''}, join: sum}\n")
    joined, _ = exposition.read(once(address, "--mapping", table))
    plain, _ = exposition.read(once(address))
    name = "envoy_listener_worker_downstream_cx_total"

    def total(families):
        return sum(int(value) for _, _, value in families[name].samples)

    assert len(joined[name].samples) < len(plain[name].samples)
    assert total(joined) == total(plain)


def test_what_coverage_suggests_describes_everything(tmp_path):
    folder = tmp_path / "capture"
    folder.mkdir()
    stats = [{"name": name, "value": 1} for name in ("my.app.calls", "my.app.errors", "server.live", "it's odd")]
    (folder / "counters.json").write_text(json.dumps({"stats": stats}))
    for name in ("gauges", "text_readouts", "histograms"):
        (folder / f"{name}.json").write_text('{"stats":[]}')
    address = f"file://{folder}"
    before = run("coverage", "--envoy.admin-address", address)
    assert "4 stats: 1 described (25.0 %), 3 by the fallback" in before.stdout
    suggested = run("coverage", "--suggest", "--envoy.admin-address", address)
    table = tmp_path / "suggested.yaml"
    table.write_text(suggested.stdout)
    after = run("coverage", "--envoy.admin-address", address, "--mapping", table)
    assert "4 stats: 4 described (100 %), 0 by the fallback" in after.stdout
    assert run("check", "--mapping", table).returncode == 0


def test_rules_that_apply_to_nothing_are_told(tmp_path):
    table = tmp_path / "t.yaml"
    table.write_text(
        "rules:\n  - {stat: cluster.upstream_rq_totl, drop: true}\n  - {stat: mongo.op_query, drop: true}\n"
        "  - {stat: server.live, drop: true}\n")
    done = run("check", "--mapping", table, "--envoy.admin-address", IDLE)
    assert done.returncode == 0
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        f"warning: {table}:2:5: rule for 'cluster.upstream_rq_totl': no described stat matches it; is there a slip in it?",
        f"warning: {table}:2:5: rule for 'cluster.upstream_rq_totl': it applies to no stat of the target",
        f"warning: {table}:3:5: rule for 'mongo.op_query': it applies to no stat of the target",
    ]


def test_limits_are_counted(tmp_path, captures):
    config = tmp_path / "c.yaml"
    config.write_text("limits: {series: 500, series_per_family: 20, label_value_bytes: 40}\n")
    text = once(f"file://{captures('1.40.0/mesh')}", "--config.file", config,
                "--no-collector.certificates", "--no-collector.server_info")
    families, series = exposition.read(text)
    own = {key: value[0] for key, value in series.items() if key[0].startswith("envoy_exporter")}
    count = {dict(key[1]).get("reason"): int(value) for key, value in own.items() if key[0] == "envoy_exporter_dropped_series"}
    made = int(own[("envoy_exporter_series", frozenset({("target", "envoy")}))])
    stats = sum(int(value) for key, value in own.items() if key[0] == "envoy_exporter_stats")
    assert made == 500
    assert sum(count.values()) + made == stats
    for name, family in families.items():
        if not parity.OF_OUR_OWN.fullmatch(name) and family.type != "histogram":
            assert len(family.samples) <= 20, name


def test_the_examples_are_valid():
    for example in sorted((ROOT / "mappings/examples").glob("*.yaml")):
        done = run("check", "--mapping", example)
        assert done.returncode == 0 and "warning" not in done.stdout, done.stdout + done.stderr


def test_summaries_are_envoys_own_quantiles(tmp_path, captures):
    table = tmp_path / "t.yaml"
    table.write_text("rules: [{stat: cluster.upstream_rq_time, form: summary}]\n")
    folder = captures("1.40.0/edge")
    text = once(f"file://{folder}", "--mapping", table)
    families, series = exposition.read(text)
    promtool_check(text)
    assert families["envoy_cluster_upstream_rq_time"].type == "summary"
    details = json.loads((folder / "histograms.json").read_text())["stats"][0]["histograms"]
    compared = 0
    for detail in details["details"]:
        match = re.fullmatch(r"cluster\.(\w+)\.upstream_rq_time", detail["name"])
        if not match:
            continue
        for percent, value in zip(details["supported_percentiles"], detail["percentiles"]):
            key = ("envoy_cluster_upstream_rq_time", frozenset({
                ("envoy_cluster_name", match.group(1)), ("quantile", repr(round(percent / 100, 6)).removesuffix(".0"))}))
            shown = float(series[key][0])
            want = value["cumulative"]
            assert (math.isnan(shown) and want is None) or shown == want, (key, want)
            compared += 1
    assert compared > 30
    once(f"file://{folder}", "--mapping", table, "--format", "openmetrics")
