"""A real Envoy, a real Prometheus, and traffic."""

import json
import re

import exposition
import parity
from prometheus_client.parser import text_string_to_metric_families
from servers import Envoy, Exporter, Prometheus, cluster_name, get, promtool_check, run, wait_for

TRAFFIC = [(0, 200)] * 7 + [(1, 200)] * 3 + [(1, 503)] * 2 + [(2, 404)]


def wanted(stats):
    """Counters of the clusters as PromQL names them, by a mapping of this test's own."""
    want = {}
    for name, value in stats.items():
        for number in range(3):
            start = f"cluster.{cluster_name(number)}."
            if not name.startswith(start):
                continue
            family, labels = name[len(start):], {"envoy_cluster_name": cluster_name(number)}
            for label, pattern in (
                ("envoy_response_code", r"_rq(_(\d{3}))$"), ("envoy_response_code_class", r"_rq_((\d))xx$"),
            ):
                match = re.search(pattern, family)
                if match:
                    labels[label] = match.group(2)
                    family = family[:match.start(1)] + family[match.end(1):]
            family = "envoy_cluster_" + re.sub(r"[^a-zA-Z0-9_]", "_", family)
            want[(family, frozenset(labels.items()))] = float(value)
    return want


def test_prometheus_answers_what_the_admin_says(envoy, children, tmp_path):
    exporter = Exporter(tmp_path, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", "200ms")
    children(exporter)
    prometheus = Prometheus(tmp_path, [f"127.0.0.1:{exporter.port}"])
    children(prometheus)
    for number, code in TRAFFIC:
        envoy.request(number, code)
    total = 'sum(envoy_cluster_upstream_rq_total{envoy_cluster_name=~"outbound.*"})'
    wait_for("the traffic is in Prometheus", lambda: prometheus.value(total) == len(TRAFFIC))

    def settled():
        want = wanted(envoy.stats("Counters"))
        have = {}
        for metric, value in prometheus.query('{envoy_cluster_name=~"outbound.*"}'):
            name = metric.pop("__name__")
            labels = {label: text for label, text in metric.items() if label not in ("instance", "job")}
            have[(name, frozenset(labels.items()))] = value
        missing = sorted(map(str, want.items() - have.items()))
        if missing or len(want) < 150:
            raise ValueError((len(want), missing[:10]))
        return True

    wait_for("every counter in Prometheus equals the admin's", settled)
    code = 'envoy_cluster_upstream_rq{envoy_cluster_name="%s",envoy_response_code="503"}' % cluster_name(1)
    assert prometheus.value(code) == 2
    assert prometheus.value("envoy_up") == 1
    assert prometheus.value("up") == 1
    # Bounds that its configuration set, not Envoy's default ones.
    bounds = {
        metric["le"] for metric, _ in prometheus.query(
            'envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="in.0.0.0.0_80"}')
    }
    assert bounds == {"0.5", "3", "7.25", "100", "+Inf"}


def test_a_quiet_proxy_reads_as_its_own_endpoint(envoy, children, tmp_path, capsys):
    for number, code in TRAFFIC:
        envoy.request(number, code)
    exporter = Exporter(tmp_path, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", "0s")
    children(exporter)

    def compared():
        ours = exporter.metrics()
        theirs = get(envoy.admin + "/stats/prometheus?text_readouts")[2]
        families, series = exposition.read(ours)
        other_families, other_series = exposition.read(theirs, strict=False)
        result = parity.compare(series, other_series, families, other_families)
        if result.different:
            raise ValueError(result.different[:10])
        return ours, result

    # Histograms are merged and connections closed in their own time.
    ours, result = wait_for("no difference", compared, 15)
    with capsys.disabled():
        print(f"\nlive {envoy.version}: {result}", end=" ")
    assert len(list(text_string_to_metric_families(ours))) > 300
    promtool_check(ours)


def test_a_proxy_that_goes_and_comes_back(envoy, children, tmp_path, upstream):
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", "200ms",
        "--envoy.timeout", "1s", "--envoy.stale-after", "3s",
    )
    children(exporter)
    prometheus = Prometheus(tmp_path, [f"127.0.0.1:{exporter.port}"])
    children(prometheus)
    wait_for("it is up", lambda: prometheus.value("envoy_up") == 1)
    assert exporter.is_ready()

    envoy.kill()
    wait_for("envoy_up is 0", lambda: prometheus.value("envoy_up") == 0)
    wait_for("its series are gone", lambda: "envoy_cluster_membership_total" not in exporter.metrics(), 10)
    wait_for(
        "its series are gone from Prometheus",
        lambda: prometheus.query("envoy_cluster_membership_total") == [], 10,
    )
    assert prometheus.value("up") == 1
    status, _, reason = get(exporter.url + "/-/ready")
    assert status == 503 and "connect" in reason
    assert get(exporter.url + "/-/healthy")[0] == 200

    again = Envoy(
        envoy.version, tmp_path, upstream.port, ports=(envoy.admin_port, envoy.port, envoy.tls_port))
    children(again)
    again.request(0, 200)
    total = 'envoy_cluster_upstream_rq_total{envoy_cluster_name="%s"}' % cluster_name(0)
    wait_for("it is back", lambda: prometheus.value("envoy_up") == 1 and prometheus.value(total) == 1)
    assert exporter.is_ready()
    outcomes = {
        metric["outcome"]: value for metric, value in prometheus.query("envoy_exporter_polls_total")}
    assert outcomes["success"] > 1 and outcomes["connect"] > 1


def test_the_admin_on_a_unix_socket(children, tmp_path, upstream):
    socket = tmp_path / "admin.sock"
    proxy = Envoy("1.40.0", tmp_path, upstream.port, admin_socket=socket)
    children(proxy)
    exporter = Exporter(
        tmp_path, "--envoy.admin-address", f"unix://{socket}", "--envoy.poll-interval", "200ms")
    children(exporter)
    exporter.wait_ready_target()
    proxy.request(0, 200)
    name = 'envoy_cluster_upstream_rq_total{envoy_cluster_name="%s"} 1\n' % cluster_name(0)
    wait_for("the request", lambda: name in exporter.metrics())


def test_the_admin_behind_tls(children, tmp_path, upstream, certificates):
    proxy = Envoy("1.40.0", tmp_path, upstream.port, tls=certificates.server)
    children(proxy)
    address = f"https://127.0.0.1:{proxy.tls_port}"
    trusting = Exporter(
        tmp_path, "--envoy.admin-address", address, "--envoy.poll-interval", "200ms",
        env={"SSL_CERT_FILE": str(certificates.authority)},
    )
    children(trusting)
    trusting.wait_ready_target()
    assert "envoy_cluster_membership_total{" in trusting.metrics()
    strange = Exporter(tmp_path, "--envoy.admin-address", address, env={"SSL_CERT_FILE": str(certificates.other)})
    children(strange)
    wait_for("a reason", lambda: "certificate" in get(strange.url + "/-/ready")[2])


def test_only_what_was_used_or_asked_for(newest_envoy, children, tmp_path):
    newest_envoy.request(0, 200)
    admin = ["--envoy.admin-address", newest_envoy.admin, "--envoy.poll-interval", "0s"]
    everything = Exporter(tmp_path, *admin)
    used = Exporter(tmp_path, *admin, "--envoy.used-only")
    some = Exporter(tmp_path, *admin, "--envoy.filter", r"^cluster\.outbound\|80\|\|svc-0\.(ns-0.*rq_total| +|\+)")
    for exporter in (everything, used, some):
        children(exporter)

    def bridged(exporter):
        _, series = exposition.read(exporter.metrics())
        return {key for key in series if not parity.OF_OUR_OWN.fullmatch(key[0])}

    assert len(bridged(used)) < len(bridged(everything)) / 2
    assert bridged(some) == {
        ("envoy_cluster_upstream_rq_total", frozenset({("envoy_cluster_name", cluster_name(0))})),
    }


def test_a_capture_reads_as_the_proxy_did(newest_envoy, children, tmp_path):
    newest_envoy.request(1, 200)
    tries = []

    def captured():
        folder = tmp_path / f"saved-{len(tries)}"
        tries.append(folder)
        saved = run("capture", folder, "--envoy.admin-address", newest_envoy.admin)
        assert saved.returncode == 0, saved.stderr
        theirs_families, theirs = exposition.read(get(newest_envoy.admin + "/stats/prometheus")[2], strict=False)
        once = run("once", "--envoy.admin-address", f"file://{folder}")
        assert once.returncode == 0, once.stderr
        families, ours = exposition.read(once.stdout)
        different = parity.compare(ours, theirs, families, theirs_families).different
        if different:
            raise ValueError(different[:10])
        return folder, saved

    # Histograms are merged and connections closed in their own time.
    folder, saved = wait_for("a capture that equals Envoy's own", captured)
    for name in ("counters", "gauges", "text_readouts", "histograms", "clusters", "certs", "server_info", "listeners"):
        assert f"{name}.json" in saved.stdout
        json.loads((folder / f"{name}.json").read_text())
    assert not list(folder.glob("*config*"))
    again = run("capture", folder, "--envoy.admin-address", newest_envoy.admin)
    assert again.returncode == 1 and "not empty" in again.stderr


def test_without_certificate_authorities(newest_envoy):
    """An image may hold none, and plain HTTP needs none."""
    none = {"SSL_CERT_FILE": "/no/such/file", "SSL_CERT_DIR": "/no/such/dir"}
    done = run("once", "--envoy.admin-address", newest_envoy.admin, env=none)
    assert done.returncode == 0, done.stderr
    done = run("once", "--envoy.admin-address", "https://127.0.0.1:1", env=none)
    assert done.returncode == 1 and "CA certificates" in done.stderr


def test_asking_for_less_changes_no_series(envoy, tmp_path):
    """What tables keep is asked of Envoy, which must find all of it: the same series come of less."""
    for number, code in TRAFFIC:
        envoy.request(number, code)
    outputs = {}
    for push_down in ("true", "false"):
        for profile in ("native", "standard"):
            done = run("once", "--envoy.admin-address", envoy.admin, "--mapping", f"{profile},basic",
                       f"--envoy.push-down={push_down}", "--no-collector.server_info", "--no-collector.certificates")
            assert done.returncode == 0, done.stderr
            own = re.compile(r"(# (HELP|TYPE) )?(envoy_exporter_|process_)")
            lines = [line for line in done.stdout.splitlines() if not own.match(line)]
            series = {line.rsplit(" ", 1)[0] for line in lines}
            size = re.search(r"^envoy_exporter_poll_body_bytes\{.*\} (\d+)$", done.stdout, re.M)
            outputs[profile, push_down] = series, int(size.group(1))
    for profile in ("native", "standard"):
        less, size = outputs[profile, "true"]
        all_asked, whole = outputs[profile, "false"]
        assert less == all_asked and len(less) > 300
        assert size < whole * 0.6, (size, whole)
