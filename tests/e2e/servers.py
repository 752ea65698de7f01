"""The real servers that the tests meet, and the program itself, as child processes on loopback."""

import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def program():
    path = Path(os.environ.get("ENVOY_EXPORTER_BINARY", ROOT / "target/debug/envoy-exporter"))
    assert path.exists(), f"{path} is not built: make test builds it"
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=10, headers=None, method="GET"):
    """Status, headers and text, whatever the status."""
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    try:
        with OPENER.open(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def wait_for(what, condition, timeout=30):
    """Waits until the condition gives something true, and gives it back."""
    end = time.monotonic() + timeout
    last = None
    while time.monotonic() < end:
        try:
            last = condition()
            if last:
                return last
        except (OSError, ValueError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {timeout} s; last: {last}")


def limiting(limits):
    """What a child does first: it takes these limits, a pair for each resource."""
    def take():
        for which, pair in limits.items():
            resource.setrlimit(which, pair)
    return take if limits else None


class Child:
    """A process with its log in a file, stopped at the end."""

    def __init__(self, name, command, directory, env=None, limits=None):
        self.name = name
        self.log = Path(directory) / f"{name}-{time.monotonic_ns()}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ENVOY_EXPORTER_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**clean, **(env or {})}, cwd=directory, preexec_fn=limiting(limits),
            )

    def wait_ready(self, url, timeout=30, status=200):
        def ready():
            assert self.process.poll() is None, f"{self.name} ended:\n{self.text()[-4000:]}"
            return get(url, timeout=2)[0] == status

        wait_for(f"{self.name} is ready", ready, timeout)

    def text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self, number=signal.SIGTERM, timeout=20):
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError(f"{self.name} did not stop:\n{self.text()[-4000:]}") from None
        return self.process.returncode


class Upstream:
    """Answers /status/N with N, and /wait/MS/N with N after some milliseconds."""

    def __init__(self):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                parts = self.path.strip("/").split("/")
                if parts[0] == "wait":
                    time.sleep(int(parts[1]) / 1000)
                code = int(parts[-1])
                self.send_response(code)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def cluster_name(number):
    return f"outbound|80||svc-{number}.ns-{number % 3}.svc.cluster.local"


class Envoy(Child):
    """A real Envoy with dotted names everywhere that sends /N/status/CODE to cluster N."""

    def __init__(self, version, directory, upstream_port, clusters=3, admin_socket=None, ports=None, tls=None,
                 tls_clients=None, flush="0.2s", base_id=None, epoch=0, parent_shutdown=2):
        binary = ROOT / f".servers/envoy-{version}/bin/envoy-{version}"
        assert binary.exists(), f"no Envoy {version}: tests/servers/install.sh installs it"
        self.version = version
        self.admin_port, self.port, self.tls_port = ports or (free_port(), free_port(), free_port())
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        config = Path(directory) / f"envoy-{self.port}.json"
        written = self.config(upstream_port, clusters, admin_socket, tls, tls_clients)
        config.write_text(json.dumps({**written, "stats_flush_interval": flush}))
        # With a base id and the next epoch it takes over from the one that has the epoch before.
        identity = ["--base-id", base_id, "--restart-epoch", epoch] if base_id else ["--use-dynamic-base-id"]
        super().__init__(
            "envoy",
            [binary, "-c", config, *identity, "--concurrency", "2", "--log-level", "warning",
             "--drain-time-s", "1", "--parent-shutdown-time-s", parent_shutdown],
            directory,
        )
        if admin_socket:
            wait_for("the admin socket", lambda: Path(admin_socket).exists())
        else:
            self.wait_ready(self.admin + "/ready")

    def config(self, upstream_port, clusters, admin_socket, tls, tls_clients):
        def address(port):
            return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

        def cluster(name, port):
            endpoint = {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}
            return {
                "name": name, "type": "STATIC", "connect_timeout": "2s",
                "circuit_breakers": {"thresholds": [{"max_connections": 100, "track_remaining": True}]},
                "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
            }

        def manager(prefix, routes):
            typed = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
            router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
            return [{
                "name": "hcm",
                "typed_config": {
                    "@type": typed, "stat_prefix": prefix,
                    "route_config": {"name": "routes", "virtual_hosts": [{
                        "name": "shop.example.com", "domains": ["*"], "routes": routes,
                        "virtual_clusters": [{"name": "read.all", "headers": [
                            {"name": ":method", "string_match": {"exact": "GET"}}]}],
                    }]},
                    "http_filters": [{"name": "router", "typed_config": router}],
                },
            }]

        routes = [
            {"match": {"prefix": f"/{number}/"},
             "route": {"cluster": cluster_name(number), "prefix_rewrite": "/"}}
            for number in range(clusters)
        ]
        listeners = [{
            "name": "in", "address": address(self.port),
            "filter_chains": [{"filters": manager("in.0.0.0.0_80", routes)}],
        }]
        all_clusters = [cluster(cluster_name(number), upstream_port) for number in range(clusters)]
        if tls:
            # Envoy's admin has no TLS of its own: a listener of the proxy stands in front of it.
            all_clusters.append(cluster("admin", self.admin_port))
            certificate = {"certificate_chain": {"filename": str(tls[0])}, "private_key": {"filename": str(tls[1])}}
            context = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
            clients = {"validation_context": {"trusted_ca": {"filename": str(tls_clients)}}} if tls_clients else {}
            listeners.append({
                "name": "tls", "address": address(self.tls_port),
                "filter_chains": [{
                    "filters": manager("tls", [{"match": {"prefix": "/"}, "route": {"cluster": "admin"}}]),
                    "transport_socket": {"name": "tls", "typed_config": {
                        "@type": context, "common_tls_context": {"tls_certificates": [certificate], **clients},
                        "require_client_certificate": bool(clients)}},
                }],
            })
        admin = {"pipe": {"path": str(admin_socket)}} if admin_socket else address(self.admin_port)
        return {
            "admin": {"address": admin},
            "node": {"id": "test", "cluster": "test"},
            "stats_config": {"histogram_bucket_settings": [
                {"match": {"prefix": "http.in"}, "buckets": [0.5, 3, 7.25, 100]}]},
            "static_resources": {"listeners": listeners, "clusters": all_clusters},
        }

    def request(self, number, code):
        status, _, _ = get(f"http://127.0.0.1:{self.port}/{number}/status/{code}")
        assert status == code, (status, code)

    def stats(self, kind):
        status, _, text = get(f"{self.admin}/stats?format=json&type={kind}")
        assert status == 200
        return {stat["name"]: stat["value"] for stat in json.loads(text)["stats"] if "name" in stat}


class Exporter(Child):
    def __init__(self, directory, *flags, port=None, env=None, command=(), limits=None, healthy=200):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            "exporter",
            [program(), *command, "--web.listen-address", f"127.0.0.1:{self.port}", *flags],
            directory, env, limits,
        )
        self.wait_ready(self.url + "/-/healthy", status=healthy)

    def metrics(self, *families):
        query = urllib.parse.urlencode([("name[]", family) for family in families])
        status, headers, text = get(f"{self.url}/metrics" + ("?" + query if query else ""))
        assert status == 200, text
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return text

    def is_ready(self):
        return get(self.url + "/-/ready")[0] == 200

    def wait_ready_target(self):
        wait_for("a first poll", self.is_ready)


class Prometheus(Child):
    def __init__(self, directory, targets, extra=(), scrape=None, jobs=None, port=None):
        port = port or free_port()
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        config = Path(directory) / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": jobs if jobs is not None else [{
                "job_name": "envoy", "static_configs": [{"targets": targets}], **(scrape or {})}],
        }))
        super().__init__(
            "prometheus",
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/tsdb-{port}",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", *extra],
            directory,
        )
        self.wait_ready(self.url + "/-/ready")

    def query(self, promql):
        """What an instant query answers: a list of (labels, number)."""
        query = urllib.parse.urlencode({"query": promql})
        status, _, text = get(f"{self.url}/api/v1/query?{query}")
        answer = json.loads(text)
        assert status == 200 and answer["status"] == "success", text
        return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]

    def samples(self, promql):
        """The numbers of a range selector's one series."""
        query = urllib.parse.urlencode({"query": promql})
        answer = json.loads(get(f"{self.url}/api/v1/query?{query}")[2])
        rows = answer["data"]["result"]
        return [float(number) for _, number in rows[0]["values"]] if len(rows) == 1 else []

    def value(self, promql):
        rows = self.query(promql)
        return rows[0][1] if len(rows) == 1 else None


class Pushgateway(Child):
    """A real Pushgateway; with a web configuration it may want TLS and passwords."""

    def __init__(self, directory, port=None, web_config=None):
        self.port = port or free_port()
        scheme = "https" if web_config and "tls" in Path(web_config).read_text() else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        extra = [f"--web.config.file={web_config}"] if web_config else []
        super().__init__(
            "pushgateway",
            ["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{self.port}", *extra],
            directory,
        )
        if web_config:
            wait_for("the Pushgateway listens", self.listens)
        else:
            self.wait_ready(self.url + "/-/ready")

    def listens(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def metrics(self):
        status, _, text = get(self.url + "/metrics")
        assert status == 200
        return text

    def groups(self):
        """The labels of each group."""
        status, _, text = get(self.url + "/api/v1/metrics")
        assert status == 200
        return [group["labels"] for group in json.loads(text)["data"]]


def run(*arguments, timeout=60, env=None, cwd=None, limits=None, stdout=subprocess.PIPE):
    """Runs a command of the program to its end."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ENVOY_EXPORTER_")}
    return subprocess.run(
        [str(program()), *[str(argument) for argument in arguments]],
        stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=timeout, env={**clean, **(env or {})}, cwd=cwd,
        stdin=subprocess.DEVNULL, preexec_fn=limiting(limits),
        # Python ignores SIGXFSZ, and so does a child that inherits that: a file too large is an error then.
        restore_signals=not limits,
    )


def promtool_check(text):
    """promtool's complaints, a line each; a text that it cannot read at all is an error."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60,
    )
    # 3: it has something to say of names. 1: it could not read.
    assert done.returncode in (0, 3), done.stderr
    return [line for line in done.stderr.splitlines() + done.stdout.splitlines() if line]
