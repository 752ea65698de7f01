"""Reloads beside a real Envoy: no gap, no mix, nothing that stays behind."""

import json
import signal
import threading

import exposition
from servers import Envoy, Exporter, cluster_name, get, wait_for

TOTAL = "envoy_cluster_upstream_cx_total"


def write(path, **config):
    new = path.with_suffix(".new")
    new.write_text(json.dumps(config))
    new.replace(path)


def labels_of(text):
    """The label names of the series of a family."""
    lines = [line for line in text.splitlines() if line.startswith(TOTAL + "{")]
    return {name for line in lines for name in ("envoy_cluster_name", "cluster") if f'{{{name}="' in line}, len(lines)


def test_scrapes_see_one_configuration_or_the_other_and_no_gap(newest_envoy, tmp_path, children):
    config = tmp_path / "config.yaml"
    target = [{"admin_address": newest_envoy.admin}]
    write(config, targets=target, poll={"interval": "200ms"})
    exporter = Exporter(tmp_path, "--config.file", config, "--web.enable-lifecycle")
    children(exporter)
    exporter.wait_ready_target()
    newest_envoy.request(0, 200)
    done, seen = threading.Event(), []

    def scrape():
        while not done.is_set():
            seen.append(labels_of(exporter.metrics()))

    scraping = threading.Thread(target=scrape)
    scraping.start()
    try:
        for turn in range(6):
            mapping = ["standard"] if turn % 2 == 0 else ["native"]
            write(config, targets=target, poll={"interval": "200ms"}, mapping=mapping)
            status, _, text = get(exporter.url + "/-/reload", method="POST")
            assert (status, text) == (200, "reloaded\n")
            names, _ = labels_of(exporter.metrics())
            assert names == ({"cluster"} if turn % 2 == 0 else {"envoy_cluster_name"})
    finally:
        done.set()
        scraping.join()
    assert len(seen) > 6
    for names, series in seen:
        assert len(names) == 1 and series == 3, seen
    assert {name for names, _ in seen for name in names} == {"cluster", "envoy_cluster_name"}


def test_a_signal_reloads_while_envoy_is_gone(newest_envoy, tmp_path, upstream, children):
    config = tmp_path / "config.yaml"
    target = {"name": "edge", "admin_address": newest_envoy.admin}
    poll = {"interval": "200ms"}
    write(config, targets=[target], poll=poll)
    exporter = Exporter(tmp_path, "--config.file", config)
    children(exporter)
    exporter.wait_ready_target()
    newest_envoy.kill()
    wait_for("it is down", lambda: 'envoy_up{target="edge"} 0' in exporter.metrics("envoy_up"))
    assert labels_of(exporter.metrics()) == ({"envoy_cluster_name"}, 3)
    # Nothing of the target changed: its data is served on.
    exporter.process.send_signal(signal.SIGHUP)
    reloads = "envoy_exporter_config_reloads_total"
    wait_for("a reload", lambda: f'{reloads}{{outcome="success"}} 1' in exporter.metrics(reloads))
    assert labels_of(exporter.metrics()) == ({"envoy_cluster_name"}, 3)
    # It has other labels: the old data does not carry them, so there is none.
    write(config, targets=[{**target, "labels": {"zone": "a"}}], poll=poll)
    exporter.process.send_signal(signal.SIGHUP)
    wait_for("another", lambda: f'{reloads}{{outcome="success"}} 2' in exporter.metrics(reloads))
    assert labels_of(exporter.metrics()) == (set(), 0)
    status, _, text = get(exporter.url + "/-/ready")
    assert status == 503 and "cannot connect" in text
    ports = (newest_envoy.admin_port, newest_envoy.port, newest_envoy.tls_port)
    children(Envoy("1.40.0", tmp_path, upstream.port, ports=ports))
    exporter.wait_ready_target()
    _, series = exposition.read(exporter.metrics(TOTAL))
    name = cluster_name(0)
    assert any(f"{name}" in str(key) and "zone" in str(key) for key in series), series


def test_a_bad_file_is_told_and_nothing_else_changes(newest_envoy, tmp_path, children):
    config = tmp_path / "config.yaml"
    write(config, targets=[{"admin_address": newest_envoy.admin}], poll={"interval": "200ms"})
    exporter = Exporter(tmp_path, "--config.file", config, "--web.enable-lifecycle",
                        "--config.auto-reload-interval", "200ms")
    children(exporter)
    exporter.wait_ready_target()
    config.write_text("poll: {intervall: 1s}\nmapping: [gone.yaml]\n")
    status, _, text = get(exporter.url + "/-/reload", method="POST")
    assert status == 500
    assert "config.yaml:1:8: no such key 'intervall'" in text and "gone.yaml: No such file" in text
    successful = "envoy_exporter_config_last_reload_successful"
    assert f"{successful} 0\n" in exporter.metrics(successful)
    assert labels_of(exporter.metrics()) == ({"envoy_cluster_name"}, 3)
    write(config, targets=[{"admin_address": newest_envoy.admin}], mapping=["standard"])
    wait_for("the good one", lambda: f"{successful} 1\n" in exporter.metrics(successful))
    assert labels_of(exporter.metrics()) == ({"cluster"}, 3)
