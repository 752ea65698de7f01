"""Several real Envoys beside one exporter."""

import json
import shutil

import exposition
from servers import Envoy, Exporter, Prometheus, get, wait_for

TOTAL = "envoy_cluster_upstream_cx_total"


def write(path, **config):
    path.write_text(json.dumps(config))


def targets_of(text):
    _, series = exposition.read(text)
    return {dict(labels).get("target") for (name, labels) in series if name == TOTAL}


def test_an_envoy_that_asks_for_a_certificate(children, tmp_path, upstream, certificates):
    proxy = Envoy("1.40.0", tmp_path, upstream.port, tls=certificates.server, tls_clients=certificates.authority)
    children(proxy)
    address = f"https://127.0.0.1:{proxy.tls_port}"
    certificate, key = (shutil.copy(path, tmp_path) for path in certificates.client)
    shown = {"ca_file": str(certificates.authority), "cert_file": certificate, "key_file": key}
    config = tmp_path / "config.yaml"
    write(config, poll={"interval": "200ms"}, targets=[
        {"name": "known", "admin_address": address, "tls_config": shown},
        {"name": "unknown", "admin_address": address, "tls_config": {"ca_file": str(certificates.authority)}},
        {"name": "doubting", "admin_address": address, "tls_config": {**shown, "ca_file": str(certificates.other)}},
        {"name": "trusting", "admin_address": address,
         "tls_config": {**shown, "ca_file": str(certificates.other), "insecure_skip_verify": True}},
    ])
    exporter = Exporter(tmp_path, "--config.file", config)
    children(exporter)
    wait_for("what can be had", lambda: targets_of(exporter.metrics()) == {"known", "trusting"})
    page = wait_for("reasons", lambda: (text := get(exporter.url + "/-/ready")[2]).count("\n") == 3 and text)
    assert "unknown: " in page and "doubting: " in page and "certificate" in page, page


def test_two_envoys_for_one_prometheus(children, tmp_path, upstream):
    envoys = [Envoy(version, tmp_path, upstream.port) for version in ("1.40.0", "1.36.4")]
    for envoy in envoys:
        children(envoy)
    config = tmp_path / "config.yaml"
    write(config, poll={"interval": "200ms"}, targets=[
        {"name": f"v{at}", "admin_address": envoy.admin, "labels": {"zone": f"z{at}"}} for at, envoy in enumerate(envoys)])
    exporter = Exporter(tmp_path, "--config.file", config)
    children(exporter)
    exporter.wait_ready_target()
    # Each by itself, with the name of the target as the instance.
    host = exporter.url.removeprefix("http://")
    jobs = [{
        "job_name": "probes", "metrics_path": "/probe", "static_configs": [{"targets": ["v0", "v1"]}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": host},
        ],
    }]
    prometheus = Prometheus(tmp_path, [], jobs=jobs)
    children(prometheus)
    wait_for("both", lambda: prometheus.value(f"count({TOTAL})") == 6)
    rows = prometheus.query(f"count by (instance, target, zone) ({TOTAL})")
    found = {(row["instance"], row["target"], row["zone"]) for row, _ in rows}
    assert found == {("v0", "v0", "z0"), ("v1", "v1", "z1")}
    assert prometheus.value("sum(envoy_up)") == 2
    envoys[1].kill()
    wait_for("one is down", lambda: prometheus.value("sum(envoy_up)") == 1)
    assert prometheus.value('envoy_up{instance="v0"}') == 1
