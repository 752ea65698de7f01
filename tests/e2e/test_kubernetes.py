"""The manifests of deploy/kubernetes: built by the real Kustomize, valid to Kubernetes, and true of the program."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from servers import ROOT, Child, Exporter, free_port, get, run, wait_for

KUBERNETES = ROOT / "deploy/kubernetes"
BUILT = ["base", "overlays/production", "overlays/istio"]
# From the first with native sidecars to the newest that is known.
RELEASES = ["1.29", "1.33", "1.37"]

DURATION = {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}


def fields(required=(), **properties):
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


METADATA = fields(["name"], name={"type": "string"}, namespace={"type": "string"}, labels=LABELS)
# Of the resources that are not Kubernetes' own, as much as is used here.
OTHERS = {
    "monitoring.coreos.com/v1 PodMonitor": fields(
        ["selector", "podMetricsEndpoints"],
        selector=fields(["matchLabels"], matchLabels=LABELS),
        podTargetLabels={"type": "array", "items": {"type": "string"}},
        podMetricsEndpoints={"type": "array", "minItems": 1, "items": fields(
            ["port"], port={"type": "string"}, path={"type": "string", "pattern": "^/"}, interval=DURATION,
            scrapeTimeout=DURATION, honorLabels={"type": "boolean"})},
    ),
    "gateway.envoyproxy.io/v1alpha1 EnvoyProxy": fields(
        ["provider"],
        telemetry=fields(metrics=fields(prometheus=fields(disable={"type": "boolean"}))),
        provider=fields(["type", "kubernetes"], type={"const": "Kubernetes"}, kubernetes=fields(
            envoyDeployment=fields(patch=fields(["type", "value"], type={"const": "StrategicMerge"}, value={"type": "object"})))),
    ),
}


def kustomize(folder):
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(scope="module")
def built():
    return {name: kustomize(KUBERNETES / name) for name in BUILT}


def gateway():
    return [yaml.safe_load(path.read_text()) for path in sorted((KUBERNETES / "envoy-gateway").glob("*.yaml"))]


def every_object(built):
    return [document for documents in built.values() for document in documents] + gateway()


def validate(document, release):
    other = OTHERS.get(f"{document['apiVersion']} {document['kind']}")
    if other is None:
        kubernetes_validate.validate(document, release, strict=True)
    else:
        schema = fields(["apiVersion", "kind", "metadata", "spec"], apiVersion={}, kind={}, metadata=METADATA, spec=other)
        jsonschema.Draft202012Validator(schema).validate(document)


def kind(documents, name):
    return [document for document in documents if document["kind"] == name]


def pod(document):
    """The pod template of a Deployment, or what an EnvoyProxy adds to one."""
    if document["kind"] == "EnvoyProxy":
        document = document["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"]
    return document["spec"]["template"]


def pods(documents):
    return [pod(document) for document in documents if document["kind"] in ("Deployment", "EnvoyProxy")]


def exporter(template):
    (container,) = [one for one in template["spec"]["initContainers"] if one["name"] == "envoy-exporter"]
    return container


@pytest.mark.parametrize("release", RELEASES)
def test_every_object_is_valid(built, release):
    objects = every_object(built)
    assert len(objects) > 14
    for document in objects:
        validate(document, release)
        wrong = copy.deepcopy(document)
        wrong["spec" if "spec" in wrong else "metadata"]["noSuchField"] = 1
        with pytest.raises(jsonschema.ValidationError):
            validate(wrong, release)


def test_the_sidecar_is_one_and_may_do_nothing(built):
    templates = [template for documents in [*built.values(), gateway()] for template in pods(documents)]
    assert len(templates) == 4
    same = []
    for template in templates:
        container = exporter(template)
        assert container["restartPolicy"] == "Always"
        assert container["securityContext"] == {
            "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"} and "memory" in container["resources"]["limits"]
        same.append({key: container[key] for key in ("startupProbe", "livenessProbe", "ports", "restartPolicy")})
    assert all(one == same[0] for one in same)
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.M).groups()
    assert user == ("65532", "65532")


def test_the_environment_is_the_programs(built):
    known = set(re.findall(r"ENVOY_EXPORTER_[A-Z_]+", run("--help").stdout))
    for document in [*every_object(built)]:
        for template in pods([document]):
            for variable in exporter(template)["env"]:
                assert variable["name"] in known, variable
    assert "ENVOY_EXPORTER_ENVOY_ADMIN_ADDRESS" in known


def test_what_selects_and_points_finds_something(built):
    for documents in [*built.values(), gateway()]:
        templates = pods(documents)
        for document in documents:
            if document["kind"] not in ("Service", "PodMonitor", "NetworkPolicy"):
                continue
            spec = document["spec"]
            selector = spec["podSelector"] if document["kind"] == "NetworkPolicy" else spec["selector"]
            labels = selector.get("matchLabels", selector)
            chosen = [one for one in templates if labels.items() <= one["metadata"]["labels"].items()]
            assert chosen, document["metadata"]["name"]
            for template in chosen:
                containers = template["spec"].get("containers", []) + template["spec"]["initContainers"]
                ports = {port["name"]: port["containerPort"] for one in containers for port in one.get("ports", [])}
                wanted = [port["targetPort"] for port in spec.get("ports", [])]
                wanted += [endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", [])]
                assert set(wanted) <= ports.keys(), document["metadata"]["name"]
                for rule in spec.get("ingress", []):
                    assert {port["port"] for port in rule["ports"]} <= set(ports.values())


def test_configuration_files_are_valid(built, tmp_path):
    (config,) = [document["data"] for document in kind(built["overlays/production"], "ConfigMap")
                 if "envoy-exporter.yaml" in document["data"]]
    path = tmp_path / "envoy-exporter.yaml"
    path.write_text(config["envoy-exporter.yaml"])
    done = run("check", "--config.file", path)
    assert done.returncode == 0, done.stderr
    (template,) = pods(built["overlays/production"])
    (mount,) = exporter(template)["volumeMounts"]
    assert {"name": "ENVOY_EXPORTER_CONFIG_FILE", "value": f"{mount['mountPath']}/envoy-exporter.yaml"} in exporter(template)["env"]


ISTIO_LABELS = {
    "reporter": "source", "source_workload": "sleep", "source_canonical_service": "sleep", "source_canonical_revision": "latest",
    "source_workload_namespace": "default", "source_principal": "spiffe://cluster.local/ns/default/sa/sleep", "source_app": "sleep",
    "source_version": "unknown", "source_cluster": "Kubernetes", "destination_workload": "httpbin",
    "destination_workload_namespace": "default", "destination_principal": "spiffe://cluster.local/ns/default/sa/httpbin",
    "destination_app": "httpbin", "destination_version": "v1.2", "destination_service": "httpbin.default.svc.cluster.local",
    "destination_canonical_service": "httpbin", "destination_canonical_revision": "v1", "destination_service_name": "httpbin",
    "destination_service_namespace": "default", "destination_cluster": "Kubernetes",
}
ENDS = {
    "istio_requests_total": {"request_protocol": "http", "response_code": "200", "grpc_response_status": "", "response_flags": "-",
                             "connection_security_policy": "mutual_tls"},
    "istio_tcp_sent_bytes_total": {"request_protocol": "tcp", "response_flags": "-", "connection_security_policy": "unknown"},
}


@pytest.mark.parametrize("metric", ENDS)
def test_istios_labels_are_read(metric, built):
    (template,) = pods(built["overlays/istio"])
    env = {variable["name"]: variable["value"] for variable in exporter(template)["env"]}
    profile, table = env["ENVOY_EXPORTER_MAPPING"].split(",")
    assert re.search(r"^COPY mappings /mappings$", (ROOT / "Dockerfile").read_text(), re.M)
    labels = {**ISTIO_LABELS, **ENDS[metric]}
    # An empty value leaves no token, as Envoy joins them.
    stat = ".".join(["istiocustom", metric, *[part for pair in labels.items() for part in pair if part]])
    done = run("explain", "--mapping", profile, "--mapping", ROOT / table.lstrip("/"), stat)
    assert done.returncode == 0, done.stdout
    series = re.search(r"^  series +(.*)$", done.stdout, re.M).group(1)
    assert series == metric + "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def test_the_base_runs(built, tmp_path, children):
    """Its Envoy and its exporter, from the manifests' own words, on other ports."""
    documents = built["base"]
    (config,) = [document["data"]["envoy.yaml"] for document in kind(documents, "ConfigMap")]
    (template,) = pods(documents)
    env = {variable["name"]: variable["value"] for variable in exporter(template)["env"]}
    admin, port = free_port(), free_port()
    assert env["ENVOY_EXPORTER_ENVOY_ADMIN_ADDRESS"] == "http://127.0.0.1:9901"
    env["ENVOY_EXPORTER_ENVOY_ADMIN_ADDRESS"] = f"http://127.0.0.1:{admin}"
    text = config.replace("port_value: 9901", f"port_value: {admin}").replace("port_value: 10000", f"port_value: {port}")
    text = text.replace('address: "::", ipv4_compat: true', 'address: 127.0.0.1')
    assert text.count("127.0.0.1") == 2
    (tmp_path / "envoy.yaml").write_text(text)
    (proxy,) = template["spec"]["containers"]
    version = proxy["image"].rpartition("v")[2]
    envoy = Child("envoy", [ROOT / f".servers/envoy-{version}/bin/envoy-{version}", "-c", "envoy.yaml", *proxy["args"][2:],
                            "--use-dynamic-base-id", "--concurrency", "1"], tmp_path)
    children(envoy)
    envoy.wait_ready(f"http://127.0.0.1:{admin}/ready")
    assert get(f"http://127.0.0.1:{port}/")[::2] == (200, "hello\n")
    child = Exporter(tmp_path, "--envoy.poll-interval", "0s", env=env)
    children(child)
    for probe in ("startupProbe", "livenessProbe"):
        assert get(child.url + exporter(template)[probe]["httpGet"]["path"])[0] == 200
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(exporter(template)["ports"][0]["containerPort"])
    wait_for("the request is counted", lambda: re.search(
        r'^envoy_http_downstream_rq_total\{envoy_http_conn_manager_prefix="ingress_http"\} [1-9]',
        get(child.url + annotations["prometheus.io/path"])[2], re.M))
