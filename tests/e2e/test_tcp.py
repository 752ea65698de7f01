"""The collector of TCP connections against a real Envoy: what it says is what `ss` says at that moment."""

import ctypes
import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import exposition
import ss
import wire
from conftest import VERSIONS
from servers import OPENER, ROOT, Envoy, Exporter, cluster_name, get, program, promtool_check, wait_for

ON = "--collector.tcp"


class Holding:
    """Answers with as many bytes as the path says, on every address of IPv4 and IPv6; forgets nobody until told."""

    def __init__(self):
        held = self.held = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                held.append(self.request)
                super().setup()

            def do_GET(self):
                body = b"x" * int(self.path.strip("/").split("/")[-1])
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6
            daemon_threads = True

            def server_bind(self):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                super().server_bind()

        self.server = Server(("::", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hang_up(self):
        for connection in self.held:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.held.clear()

    def stop(self):
        self.hang_up()
        self.server.shutdown()
        self.server.server_close()


class Apart(Envoy):
    """Each cluster has an address of its own: 0 and 1 of IPv4, 2 of IPv6; 3 and 4 share one, and so do 5 and 6."""

    ADDRESSES = ["127.0.0.2", "127.0.0.3", "::1", "127.0.0.4", "127.0.0.4", "127.0.0.5", "127.0.0.5"]

    def config(self, upstream_port, *others):
        config = super().config(upstream_port, *others)
        resources = config["static_resources"]
        for cluster, address in zip(resources["clusters"], self.ADDRESSES, strict=True):
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"] = {"socket_address": {"address": address, "port_value": upstream_port}}
        resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"] = "Bob-1.example.com"
        return config

    def fetch(self, number, size):
        status, _, body = get(f"http://127.0.0.1:{self.port}/{number}/{size}")
        assert status == 200 and len(body) == size


@pytest.fixture
def holding():
    server = Holding()
    yield server
    server.stop()


@pytest.fixture(params=VERSIONS)
def apart(request, tmp_path, holding):
    server = Apart(request.param, tmp_path, holding.port, clusters=len(Apart.ADDRESSES))
    yield server
    server.kill()


def start(children, tmp_path, envoy, *flags):
    exporter = Exporter(tmp_path, "--envoy.admin-address", envoy.admin, "--envoy.poll-interval", "0s", ON, *flags)
    children(exporter)
    return exporter


def read(exporter):
    """Numbers by family and labels, and the text."""
    text = exporter.metrics()
    found = {}
    for (name, labels), (value,) in exposition.read(text)[1].items():
        found.setdefault(name, {})[labels] = float(value)
    return found, text


def of_cluster(found, cluster, prefix="envoy_cluster_tcp_", label="envoy_cluster_name"):
    labels = frozenset({(label, cluster)})
    families = {name.removeprefix(prefix): values for name, values in found.items() if name.startswith(prefix)}
    return {name: values[labels] for name, values in families.items() if labels in values}


def same_as_ss(exporter, cluster, condition, **how):
    """Waits until nothing moves while the exporter looks, and compares."""
    def settled():
        before = ss.expected(ss.connections(*condition))
        found, _ = read(exporter)
        if ss.expected(ss.connections(*condition)) != before:
            return False
        differ = ss.differences(of_cluster(found, cluster, **how), before)
        assert not differ, differ
        return before["connections"] and (found, before)

    return wait_for(f"{cluster} settles", settled)


def test_numbers_are_those_of_ss(apart, holding, children, tmp_path):
    exporter = start(children, tmp_path, apart)
    first, _ = read(exporter)
    # Before there is a connection there is a counter at 0, and no average of nothing.
    assert of_cluster(first, cluster_name(0)) == {
        "connections": 0, "retransmits": 0, "segments_sent": 0, "bytes_sent": 0, "bytes_acked": 0, "bytes_received": 0}
    for _ in range(5):
        for number in (0, 1, 2):
            apart.fetch(number, 20_000 * (number + 1))
    for number, address in ((0, "127.0.0.2"), (1, "127.0.0.3"), (2, "[::1]")):
        found, wanted = same_as_ss(exporter, cluster_name(number), ["dst", f"{address}:{holding.port}"])
        have = of_cluster(found, cluster_name(number))
        # All of them opened since the first poll.
        assert have["bytes_received"] == wanted["bytes_received_all"] >= 5 * 20_000 * (number + 1)
        assert have["bytes_sent"] == wanted["bytes_sent_all"] > 0
        assert have["connection_rtt_ms_count"] >= wanted["connections"]
    # Downstream: what the listener accepted, held open by a client of its own.
    with socket.create_connection(("127.0.0.1", apart.port)) as client:
        client.sendall(b"GET /0/3000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100)
        same_as_ss(exporter, f"127.0.0.1_{apart.port}", ["src", f"127.0.0.1:{apart.port}"],
                   prefix="envoy_listener_tcp_", label="envoy_listener_address")
    _, text = read(exporter)
    promtool_check(text)


def test_counters_stay_when_connections_close(apart, holding, children, tmp_path):
    apart.fetch(0, 5000)
    exporter = start(children, tmp_path, apart)
    first = of_cluster(read(exporter)[0], cluster_name(0))
    # What was sent before the exporter looked is no growth of its counters.
    assert (first["connections"], first["bytes_received"]) == (1, 0) and first["bytes_received_all"] > 5000
    apart.fetch(0, 70_000)
    grown = of_cluster(read(exporter)[0], cluster_name(0))
    assert 70_000 < grown["bytes_received"] < 75_000
    holding.hang_up()
    wait_for("no connection", lambda: of_cluster(read(exporter)[0], cluster_name(0))["connections"] == 0)
    closed = of_cluster(read(exporter)[0], cluster_name(0))
    assert grown["bytes_received"] <= closed["bytes_received"] <= grown["bytes_received"] + 1
    apart.fetch(0, 10_000)
    again = of_cluster(read(exporter)[0], cluster_name(0))
    assert 10_000 < again["bytes_received"] - closed["bytes_received"] < 12_000


def test_shared_endpoints_are_no_guess(apart, holding, children, tmp_path):
    exporter = start(children, tmp_path, apart)
    read(exporter)
    # Of 3 and 4 both open connections, of 5 and 6 one alone.
    for number in (3, 4, 6):
        apart.fetch(number, 1000)
    found, _ = read(exporter)
    connections = {dict(labels)["envoy_cluster_name"]: value for labels, value in found["envoy_cluster_tcp_connections"].items()}
    both = f"{cluster_name(3)},{cluster_name(4)}"
    assert connections[both] == 2 and connections[cluster_name(6)] == 1 and connections[cluster_name(5)] == 0
    assert cluster_name(3) not in connections and cluster_name(4) not in connections
    owners = {dict(labels)["envoy_socket_owner"]: value for labels, value in found["envoy_tcp_info_sockets"].items()}
    assert owners["several_clusters"] == 2 and owners["cluster"] == 1 and owners["over_limit"] == 0


def test_standard_has_base_units_and_both_kinds_of_histograms(apart, children, tmp_path):
    exporter = start(children, tmp_path, apart, "--mapping", "standard", "--histograms", "both")
    apart.fetch(0, 1000)
    found, text = read(exporter)
    promtool_check(text)
    have = of_cluster(found, cluster_name(0), label="cluster")
    assert 0 < have["rtt_avg_seconds"] < 0.05 and 0.2 <= have["rto_min_seconds"] < 1
    assert have["connection_rtt_seconds_count"] == have["connection_rto_seconds_count"] == 1
    # Sums are exact, where those of Envoy's bins are estimates.
    assert abs(have["connection_rtt_seconds_sum"] - have["rtt_avg_seconds"]) < 1e-9
    request = urllib.request.Request(exporter.url + "/metrics", headers={
        "Accept": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"})
    with OPENER.open(request, timeout=10) as answer:
        families = {family["name"]: family for family in wire.read(answer.read())}
    for name in ("rtt_seconds", "rto_seconds", "retransmit_ratio", "congestion_window"):
        family = families[f"envoy_cluster_tcp_connection_{name}"]
        (value,) = [value for labels, value in family["series"] if ("cluster", cluster_name(0)) in labels]
        classic = [count for _, count in value["bucket"]]
        assert value["count"] == 2 and max(classic) <= 2 and classic == sorted(classic)
        buckets = wire.native_buckets(value)
        assert sum(count for *_, count in buckets) + value["zero_count"] == 2
        if buckets:
            assert buckets[0][0] / 1.1 <= value["sum"] / 2 <= buckets[-1][1] * 1.1, (name, value)


def test_kuscia_names(apart, children, tmp_path):
    table = tmp_path / "more.yaml"
    table.write_text("rules:\n  - {stat: tcp_info.host.rto_max_ms, drop: false}\n"
                     "  - {stat: tcp_info.host.bytes_sent, drop: false}\n")
    plain = start(children, tmp_path, apart, "--mapping", "kuscia")
    more = start(children, tmp_path, apart, "--mapping", "kuscia", "--mapping", table)
    for exporter in (plain, more):
        read(exporter)
    for number in (0, 3, 4):
        apart.fetch(number, 1000)
    found, text = read(plain)
    labels = lambda host, function: frozenset(  # noqa: E731
        {("type", "ss"), ("remote_domain", host), ("aggregation_function", function)})
    types = {name: family.type for name, family in exposition.read(text)[0].items() if name.startswith("ss_")}
    assert types == {"ss_rtt": "gauge", "ss_retrans": "counter", "ss_total_connections": "gauge", "ss_retran_rate": "gauge"}
    # The name in front of the address, and no doubt where several clusters share one.
    assert found["ss_total_connections"][labels("bob_1__example__com", "sum")] == 1
    assert found["ss_total_connections"][labels("127__0__0__4", "sum")] == 2
    assert found["ss_total_connections"][labels("127__0__0__3", "sum")] == 0
    assert 0 < found["ss_rtt"][labels("127__0__0__4", "avg")] < 50
    assert labels("127__0__0__3", "avg") not in found["ss_rtt"]
    assert found["ss_retrans"][labels("127__0__0__4", "sum")] == 0
    assert found["ss_retran_rate"][labels("127__0__0__4", "rate")] == 0
    # Envoy's own names, which the dashboards use too.
    assert found["envoy_cluster_upstream_cx_total"][frozenset({("envoy_cluster_name", cluster_name(0))})] == 1
    found, _ = read(more)
    assert found["ss_rto"][labels("127__0__0__4", "max")] >= 200
    assert found["ss_bytes_sent"][labels("127__0__0__4", "sum")] > 0


def test_another_place_is_an_error(newest_envoy, children, tmp_path):
    # The way there is a unix socket, which leads out of a network namespace.
    exporter = start(children, tmp_path, newest_envoy)
    assert "envoy_tcp_info_sockets" in read(exporter)[1]
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net"]
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    envoy = Envoy(VERSIONS[0], directory, 1, admin_socket=directory / "admin.sock")
    children(envoy)
    done = subprocess.run(
        [*unshare, program(), "once", "--envoy.admin-address",
         f"unix://{directory / 'admin.sock'}", ON],
        capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "no socket here listens at an address of the proxy" in done.stderr
    assert "envoy_tcp_info_sockets" not in done.stdout and "envoy_cluster_upstream_cx_total" in done.stdout


def test_no_privilege_is_needed(apart, tmp_path):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
              "--no-new-privs"] if os.geteuid() == 0 else []
    apart.fetch(0, 1000)
    # A user who may not read the folder of the build runs a copy.
    public = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        public.chmod(0o755)
        shutil.copy(program(), public / "exporter")
        done = subprocess.run(
            [*nobody, public / "exporter", "once", "--envoy.admin-address", apart.admin, ON],
            capture_output=True, text=True, timeout=60, check=False, cwd="/")
    finally:
        shutil.rmtree(public)
    assert done.returncode == 0, done.stderr
    assert f'envoy_cluster_tcp_connections{{envoy_cluster_name="{cluster_name(0)}"}} 1\n' in done.stdout, done.stderr


def without_netlink():
    """Forbids netlink sockets to this process and its children, as a seccomp profile may."""
    number = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
    statements = [
        (0x20, 0, 0, 0),                # the system call
        (0x15, 0, 3, number),           # is socket,
        (0x20, 0, 0, 16),               # and its first argument
        (0x15, 0, 1, socket.AF_NETLINK),
        (0x06, 0, 0, 0x00050000 | errno.EPERM),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    code = b"".join(struct.pack("HBBI", *statement) for statement in statements)
    held = ctypes.create_string_buffer(code)
    filters = struct.pack("HxxxxxxP", len(statements), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
    assert libc.prctl(22, ctypes.c_ulong(2), filters, zero, zero) == 0


def test_netlink_that_is_forbidden_is_an_error_of_the_collector_alone(newest_envoy):
    done = subprocess.run(
        [program(), "once", "--envoy.admin-address", newest_envoy.admin, ON], preexec_fn=without_netlink,
        capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "the kernel gives no netlink socket for sock_diag" in done.stderr and "outcome=connect" in done.stderr
    assert "envoy_tcp_info_sockets" not in done.stdout and "envoy_cluster_upstream_cx_total" in done.stdout


def test_users_that_cannot_be_told_apart_are_an_error(newest_envoy, tmp_path):
    # In a user namespace without a map every user looks like the same one. The program's folder may be closed to it.
    public = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        public.chmod(0o755)
        shutil.copy(program(), public / "exporter")
        done = subprocess.run(
            ["unshare", "--user", public / "exporter", "once", "--envoy.admin-address", newest_envoy.admin, ON],
            capture_output=True, text=True, timeout=60, check=False, cwd="/")
    finally:
        shutil.rmtree(public)
    assert done.returncode == 0, done.stderr
    assert "the proxy's user cannot be told from others" in done.stderr and "outcome=connect" in done.stderr
    assert "envoy_tcp_info_sockets" not in done.stdout and "envoy_cluster_upstream_cx_total" in done.stdout


def test_a_limit_is_counted(apart, children, tmp_path):
    config = tmp_path / "limit.yaml"
    config.write_text("collectors: {tcp: true}\nlimits: {tcp_sockets: 1}\n")
    apart.fetch(0, 10)
    apart.fetch(1, 10)
    exporter = start(children, tmp_path, apart, "--config.file", config)
    found, _ = read(exporter)
    owners = {dict(labels)["envoy_socket_owner"]: value for labels, value in found["envoy_tcp_info_sockets"].items()}
    assert owners.pop("over_limit") >= 1
    assert sum(owners.values()) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_delay_and_loss_between_two_namespaces(version, tmp_path):
    alone = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *alone, "--net", sys.executable, ROOT / "tests/e2e/far.py", version, tmp_path],
        capture_output=True, text=True, timeout=180, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
