"""The stack of deploy/compose with real programs, and what the dashboards and rules ask of it."""

import json
import os
import sys
from urllib.parse import urlencode

from servers import ROOT, Exporter, get, wait_for

DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(DEPLOY))

from stack import Stack  # noqa: E402

# Faster than for production, or the tests would wait.
EDITS = {
    "envoy.yaml": {
        "stats_flush_interval: 5s": "stats_flush_interval: 0.5s",
        "{timeout: 1s, interval: 5s": "{timeout: 1s, interval: 1s",
        "no_traffic_interval: 5s": "no_traffic_interval: 1s",
    },
    "prometheus.yml": {
        "scrape_interval: 5s": "scrape_interval: 2s",
        "scrape_timeout: 5s": "scrape_timeout: 2s",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
    },
}
TYPE = "type.googleapis.com/envoy."
MANAGER = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "router", "typed_config": {"@type": TYPE + "extensions.filters.http.router.v3.Router"}}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def manager(prefix, **routes):
    return [{"name": "hcm", "typed_config": {"@type": MANAGER, "stat_prefix": prefix, "http_filters": [ROUTER], **routes}}]


def to_cluster(name):
    return {"route_config": {"name": name, "virtual_hosts": [{
        "name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}]}]}}


def cluster(name, endpoint, **more):
    return {"name": name, "type": "STATIC", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}]}, **more}


def more_of_envoy(folder, port, tls_port, certificates):
    """What the sample configuration has no example of: Envoy's own endpoint behind a port, TLS on both sides,
    and clusters, listeners and routes from files."""
    def from_file(name, kind, resource):
        (folder / name).write_text(json.dumps({"resources": [{"@type": TYPE + kind, **resource}]}))
        return {"path_config_source": {"path": str(folder / name)}, "resource_api_version": "V3"}

    certificate, key = certificates.server
    server = {"name": "tls", "typed_config": {
        "@type": TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [
            {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}]}}}
    client = {"name": "tls", "typed_config": {"@type": TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}
    check = {"timeout": "1s", "interval": "1s", "no_traffic_interval": "1s", "unhealthy_threshold": 2, "healthy_threshold": 1,
             "http_health_check": {"path": "/"}}
    routes = from_file("rds.json", "config.route.v3.RouteConfiguration", to_cluster("from_file")["route_config"])
    return {
        "static_resources": {
            "listeners": [
                {"name": "direct", "address": address(port),
                 "filter_chains": [{"filters": manager("direct", **to_cluster("envoy_admin"))}]},
                {"name": "tls", "address": address(tls_port),
                 "filter_chains": [{"filters": manager("tls", **to_cluster("search")), "transport_socket": server}]},
            ],
            "clusters": [
                cluster("envoy_admin", {"pipe": {"path": str(folder / "admin/admin.sock")}}),
                cluster("secure", address(tls_port), transport_socket=client, health_checks=[check]),
            ],
        },
        "dynamic_resources": {
            "cds_config": from_file("cds.json", "config.cluster.v3.Cluster", cluster("from_file", address(1))),
            "lds_config": from_file("lds.json", "config.listener.v3.Listener", {
                "name": "from_file", "address": address(0), "filter_chains": [{"filters": manager(
                    "from_file", rds={"route_config_name": "from_file", "config_source": routes})}]}),
        },
    }


class Deployment:
    """The stack, with an exporter of standard names and Envoy's own endpoint scraped as well."""

    JOBS = {"envoy": "native", "envoy-standard": "standard", "envoy-direct": "native"}

    def __init__(self, folder, certificates):
        self.stack = Stack(folder)
        direct, tls = self.stack.port("direct", 80), self.stack.port("tls", 443)
        self.stack.extra["envoy"] = ["--config-yaml", json.dumps(more_of_envoy(folder, direct, tls, certificates))]
        self.stack.environment = {
            "exporter": {"ENVOY_EXPORTER_ENVOY_POLL_INTERVAL": "500ms"}, "upstream-b": {"UNHEALTHY": "9"},
            "traffic": {"PAUSE": os.environ.get("PAUSE", "0.03")},
        }
        standard = self.stack.port("standard", 9091)
        jobs = "".join(f"  - {json.dumps(job)}\n" for job in (
            {"job_name": "envoy-standard", "static_configs": [{"targets": [f"127.0.0.1:{standard}"]}]},
            {"job_name": "envoy-direct", "metrics_path": "/stats/prometheus",
             "static_configs": [{"targets": [f"127.0.0.1:{direct}"]}]},
        ))
        self.stack.edits = {**EDITS, "prometheus.yml": {**EDITS["prometheus.yml"], "scrape_configs:\n": f"scrape_configs:\n{jobs}"}}
        self.url = "http://" + self.stack.address("prometheus", 9090)
        self.exporter = "http://" + self.stack.address("envoy", 9091)
        self.standard = None
        try:
            self.stack.start()
            socket = folder / "admin/admin.sock"
            wait_for("the admin socket", socket.exists)
            self.standard = Exporter(
                folder, "--envoy.admin-address", f"unix://{socket}", "--envoy.poll-interval", "500ms",
                "--mapping", "standard", "--collector.endpoints", "--collector.tcp", port=standard)
            wait_for("Prometheus is ready", lambda: get(self.url + "/-/ready")[0] == 200)
        except BaseException:
            self.stop()
            raise

    def api(self, path, **parameters):
        status, _, text = get(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=30)
        answer = json.loads(text)
        assert status == 200 and answer["status"] == "success", (parameters, text[:500])
        return answer["data"]

    def query(self, promql, **parameters):
        return self.api("query", query=promql, **parameters)["result"]

    def stop(self):
        if self.standard:
            self.standard.kill()
        self.stack.stop()
