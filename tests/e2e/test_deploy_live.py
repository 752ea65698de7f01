"""The dashboards and rules of deploy/ on a real Prometheus that scrapes a real Envoy through the exporter, with the
traffic of the demo: errors, timeouts, retries, full circuit breakers, health checks and ejections."""

import json
import math
import re
import time

import pytest
from deployment import DEPLOY, Deployment
from servers import get, wait_for

# Scrapes of each job before anything is asked, one every two seconds: hosts of the demo fall ill every 9.
SCRAPES = 10
# Seconds that are looked at: all of them, however slow the machine is.
SPAN = 200

# What stays empty, by dashboard and panel, and why.
EMPTY = {
    ("server", "Control plane"): "the demo has no management server",
}
COLLECTOR = "what the collector brings is not in Envoy's own endpoint"
# Envoy's own endpoint cuts names at the first dot, and so loses these.
EMPTY_DIRECT = {
    ("clusters", "Ejected hosts"): "only shop.example.com has outlier detection",
    ("clusters", "Ejections by cause"): "only shop.example.com has outlier detection",
    ("clusters", "Ejections not made"): "only shop.example.com has outlier detection",
    ("listeners", "Virtual clusters"): "its virtual host is shop.example.com as well",
    ("endpoints", "What is wrong with endpoints"): COLLECTOR,
    ("endpoints", "Connections beside their limit"): COLLECTOR,
    ("endpoints", "Requests beside their limit"): COLLECTOR,
    ("endpoints", "Endpoints by zone"): COLLECTOR,
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, certificates):
    running = Deployment(tmp_path_factory.mktemp("stack"), certificates)
    try:
        def scraped():
            assert not running.stack.ended(), running.stack.ended()
            counts = {row["metric"]["job"]: float(row["value"][1]) for row in running.query("sum_over_time(up[10m])")}
            return all(counts.get(job, 0) >= SCRAPES for job in Deployment.JOBS)

        wait_for("every job is scraped for a while", scraped, 150)
        yield running
    finally:
        running.stop()


def dashboards(profile):
    for path in sorted((DEPLOY / "grafana/dashboards" / profile).glob("*.json")):
        yield path.stem, json.loads(path.read_text())


def substituted(query, job):
    """A query with every variable as Grafana would have it with `All` chosen, but one job."""
    query = query.replace("$__rate_interval", "10s").replace("$__interval", "1s").replace("$job", job)
    query = re.sub(r'\$(instance|target|cluster|hcm|listener)\b', '.*', query)
    assert "$" not in re.sub(r'"\$1"', "", query), query
    return query


def has_numbers(result):
    values = [value for series in result for _, value in series.get("values", [series.get("value")])]
    return any(not math.isnan(float(value)) for value in values)


def empty_queries(deployment, job, dashboard):
    """Which panels have queries without a number over the whole time of traffic, one instant at least."""
    now, empty = time.time(), {}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            data = deployment.api("query_range", query=substituted(target["expr"], job),
                                  start=now - SPAN, end=now, step=1)
            if not has_numbers(data["result"]):
                empty.setdefault(panel["title"], []).append(target["legendFormat"])
    return empty


@pytest.mark.parametrize("job, profile", Deployment.JOBS.items())
def test_every_query_of_every_panel_has_data(deployment, job, profile):
    expected = {**EMPTY, **(EMPTY_DIRECT if job == "envoy-direct" else {})}
    found = {}
    for name, dashboard in dashboards(profile):
        if job == "envoy-direct" and name in ("exporter", "network"):
            continue
        for title, legends in empty_queries(deployment, job, dashboard).items():
            found[(name, title)] = legends
    assert found.keys() == expected.keys(), found


@pytest.mark.parametrize("job, profile", Deployment.JOBS.items())
def test_variables_offer_something(deployment, job, profile):
    for name, dashboard in dashboards(profile):
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "datasource":
                continue
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()
            values = deployment.api(f"label/{label}/values", **{"match[]": substituted(selector, job)})
            # One proxy without a name has no target.
            assert bool(values) == (variable["name"] != "target"), (name, variable["name"], values)
        for annotation in dashboard["annotations"]["list"]:
            deployment.query(substituted(annotation["expr"], job))


def test_a_cluster_with_dots_can_be_chosen(deployment):
    (panel,) = (panel for _, dashboard in dashboards("native") if dashboard["uid"] == "envoy-clusters"
                for panel in dashboard["panels"] if panel["title"] == "Server errors")
    query = panel["targets"][0]["expr"].replace("$cluster", "shop[.]example[.]com|search")
    clusters = {row["metric"]["envoy_cluster_name"] for row in deployment.query(substituted(query, "envoy"))}
    assert clusters == {"shop.example.com", "search"}


def test_rules_are_evaluated_and_their_texts_are_whole(deployment):
    def settled():
        groups = deployment.api("rules")["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"]) and groups

    groups = wait_for("every rule is evaluated without an error", settled)
    assert {group["name"] for group in groups} == {
        "exporter", "proxy", "proxy-records", "proxy-standard", "proxy-standard-records"}
    # All records have numbers, and in the two naming profiles the same.
    for group in groups:
        for rule in group["rules"]:
            if rule["type"] == "recording":
                for job in ("envoy", "envoy-standard"):
                    rows = deployment.query(f'{rule["name"]}{{job="{job}"}}')
                    assert has_numbers(rows), (rule["name"], job)
    alerts = [alert for group in groups for rule in group["rules"] if rule["type"] == "alerting" for alert in rule["alerts"]]
    seen = {alert["labels"]["alertname"] for alert in alerts}
    # The legacy system is gone, and payments are held back; nothing is wrong with the exporter.
    assert {"EnvoyClusterNoHealthyHost", "EnvoyHealthChecksFailing", "EnvoyClusterConnectFailures"} <= seen
    assert not {name for name in seen if "Exporter" in name or "Poll" in name}, seen
    for alert in alerts:
        texts = [*alert["annotations"].values(), *alert["labels"].values()]
        assert not [text for text in texts if re.search(r"error (expanding|executing)|<no value>|%!|<\w+>|\{\{", text)], alert
    legacy = [alert for alert in alerts if alert["labels"]["alertname"] == "EnvoyClusterNoHealthyHost"]
    assert {alert["annotations"]["summary"] for alert in legacy} == {"No host of cluster legacy is healthy"}


def test_what_rules_and_panels_ask_of_labels_is_there(deployment):
    """A matcher of a label that no series has finds nothing, and an alert that never fires looks like a good sign."""
    asked = {}
    rules = [rule["query"] for group in deployment.api("rules")["groups"] for rule in group["rules"]]
    panels = [target["expr"] for _, dashboard in dashboards("native")
              for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for query in rules + panels:
        for family, matchers in re.findall(r"\b((?:envoy|process)_\w+){([^{}]*)}", query):
            for label in re.findall(r"(\w+)(?:=~|!~|!=|=)\"", matchers):
                asked.setdefault(family, set()).add(label)
    known = {}
    for series in deployment.api("series", **{"match[]": '{__name__=~"envoy_.+|process_.+"}'}):
        known.setdefault(series["__name__"], set()).update(series)
    # One proxy has no target, and what is not merged has no source.
    everywhere = {"job", "instance", "target", "source"}
    wrong = {(family, label) for family, labels in asked.items() for label in labels - everywhere
             if family in known and label not in known[family]}
    assert len(asked) > 100 and not wrong, wrong


def test_the_same_numbers_in_both_profiles(deployment):
    """The rules of one profile find what those of the other find, seconds from milliseconds included. The shop is left out,
    as it changes between two scrapes."""
    def by_cluster(record, job, label):
        rows = deployment.query(f'{record}{{job="{job}"}}')
        return {row["metric"][label]: float(row["value"][1]) for row in rows if row["metric"][label] != "shop.example.com"}

    for record, steady in (
        ("envoy_cluster:upstream_request_seconds:p50_rate5m", {"search", "payments"}),
        ("envoy_cluster:healthy_hosts:ratio", {"search", "payments", "legacy"}),
    ):
        native = by_cluster(record, "envoy", "envoy_cluster_name")
        standard = by_cluster(record, "envoy-standard", "cluster")
        assert steady <= native.keys() == standard.keys(), record
        for cluster in steady:
            assert native[cluster] == pytest.approx(standard[cluster], rel=0.2), (record, cluster)


def test_the_exporter_serves_what_compose_says(deployment):
    assert get(deployment.exporter + "/-/ready")[0] == 200
    metrics = get(deployment.exporter + "/metrics?name[]=envoy_cluster_membership_total")[2]
    assert 'envoy_cluster_membership_total{envoy_cluster_name="shop.example.com"} 2' in metrics
