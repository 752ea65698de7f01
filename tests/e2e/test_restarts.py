"""A proxy that restarts, restarts hot, or resets its counters: each is told apart, and none makes a rate."""

import random
import re
import time

import pytest
from conftest import VERSIONS
from servers import Envoy, Exporter, Prometheus, cluster_name, get, wait_for

REQUESTS = 'envoy_cluster_upstream_rq_total{envoy_cluster_name="%s"}' % cluster_name(0)
TIMES = 'envoy_cluster_upstream_rq_time'


class Watched:
    """What the exporter says of the proxy's lives."""

    def __init__(self, exporter):
        self.exporter = exporter

    def kinds(self):
        """Restarts, hot restarts, resets of counters."""
        text = self.exporter.metrics("envoy_exporter_target_restarts_total")
        found = dict(re.findall(r'kind="(\w+)",target="envoy"} (\d+)', text))
        assert set(found) == {"restart", "hot_restart", "counters_reset"}, text
        return int(found["restart"]), int(found["hot_restart"]), int(found["counters_reset"])

    def requests(self):
        text = self.exporter.metrics("envoy_cluster_upstream_rq_total")
        return int(re.search(re.escape(REQUESTS) + r" (\d+)", text).group(1))

    def starts(self):
        """Since when: the process, its counters, its histograms."""
        _, _, text = get(self.exporter.url + "/metrics", headers={"Accept": "application/openmetrics-text"})
        name = re.escape('{envoy_cluster_name="%s"}' % cluster_name(0))
        found = [
            re.search(rf"^{pattern} (\S+)$", text, re.M) for pattern in (
                r'envoy_exporter_target_start_timestamp_seconds\{target="envoy"\}',
                rf"envoy_cluster_upstream_cx_created{name}",
                rf"{TIMES}_created{name}",
            )]
        return [float(match.group(1)) if match else None for match in found]


@pytest.mark.parametrize("version", VERSIONS)
def test_beginnings_are_told_apart(version, children, tmp_path, upstream):
    base_id = random.randrange(10_000, 100_000_000)
    old = Envoy(version, tmp_path, upstream.port, base_id=base_id)
    children(old)
    ports = (old.admin_port, old.port, old.tls_port)
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", old.admin, "--envoy.poll-interval", "200ms", "--created-timestamps")
    children(exporter)
    prometheus = Prometheus(tmp_path, [f"127.0.0.1:{exporter.port}"])
    children(prometheus)
    watched = Watched(exporter)

    def send(proxy, count):
        """Requests, until Prometheus knows that they came."""
        for _ in range(count):
            proxy.request(0, 200)
        wait_for("they are counted", lambda: prometheus.value(REQUESTS) == count)

    exporter.wait_ready_target()
    send(old, 50)
    wait_for("histograms are merged", lambda: watched.starts()[2])
    process, counters, histograms = watched.starts()
    # The uptime has no parts of a second, and is as old as the last flush.
    assert abs(process - time.time()) < 30 and process == counters == histograms
    assert watched.kinds() == (0, 0, 0)

    before = time.time()
    assert get(old.admin + "/reset_counters", method="POST")[0] == 200
    wait_for("the reset is seen", lambda: watched.kinds() == (0, 0, 1))
    assert watched.requests() == 0
    send(old, 20)
    process_then, counters, histograms = watched.starts()
    assert process_then == histograms == process
    # Since the poll before it.
    assert before - 2 < counters < time.time(), (before, counters)

    before = time.time()
    new = Envoy(version, tmp_path, upstream.port, ports=ports, base_id=base_id, epoch=1, parent_shutdown=5)
    children(new)
    # On connections that it has, the old process would answer until it ends.
    wait_for("the hot restart is seen", lambda: watched.kinds() == (0, 1, 1))
    assert old.process.poll() is None, "the old process is there yet"
    # The uptime of the new one, to which that of the old one is added, falls then: no restart.
    wait_for("the old process ends", lambda: old.process.poll() is not None)
    wait_for("its uptime is gone", lambda: new.stats("Gauges")["server.uptime"] < time.time() - process + 3)
    send(new, 10)
    assert watched.kinds() == (0, 1, 1)
    process_then, counters, histograms = wait_for("histograms are merged", lambda: watched.starts()[2] and watched.starts())
    assert process_then == process
    assert before - 2 < histograms <= counters < time.time(), (before, histograms, counters)

    new.kill()
    wait_for("it is gone", lambda: 'envoy_up{target="envoy"} 0' in exporter.metrics("envoy_up"))
    before = time.time()
    again = Envoy(version, tmp_path, upstream.port, ports=ports)
    children(again)
    wait_for("the restart is seen", lambda: watched.kinds() == (1, 1, 1))
    send(again, 5)
    wait_for("histograms are merged", lambda: watched.starts()[2])
    process, counters, histograms = watched.starts()
    assert process == counters == histograms
    assert before - 1 < process < time.time()
    assert watched.kinds() == (1, 1, 1)

    # As Prometheus counts: what is lower than before began from 0.
    samples = prometheus.samples(REQUESTS + "[10m]")
    total = samples[0] + sum(
        now - earlier if now >= earlier else now for earlier, now in zip(samples, samples[1:]))
    assert total == 50 + 20 + 10 + 5, samples
    assert prometheus.value(f"resets({REQUESTS}[10m])") == 3
