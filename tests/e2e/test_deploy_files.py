"""The files of deploy/: in step with their sources, valid to those who read them, and safe by default."""

import glob
import ipaddress
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import compose_spec
import pytest
import yaml
from deployment import DEPLOY
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from naming import PROFILES, Names, families, load
from servers import OPENER, ROOT, get, wait_for
from stack import COMPOSE, Missing, Stack, interpolate, resolve

DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*/*.json"))
# Fields that Grafana itself writes and its published model leaves out.
BEYOND_THE_MODEL = re.compile(r"\.annotations\.list\[\]\.(step|titleFormat|textFormat)|\.templating\.list\[\]\.definition")

register_default_plugins()


@pytest.mark.parametrize("script", ["grafana/build.py", "prometheus/build.py"])
def test_generated_files_are_in_step(script):
    done = subprocess.run([sys.executable, DEPLOY / script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def test_every_listed_stat_is_used():
    """Both by a dashboard or a rule; the names themselves are tested on a running Envoy."""
    names = Names("native", lambda *_: "", "1m")
    texts = [path.read_text() for path in [*(DEPLOY / "grafana/src").glob("*.yaml"), DEPLOY / "prometheus/rules.yaml"]]
    for token in re.findall(r"<[a-z][^<>]*>", "\n".join(texts)):
        if not token.startswith("<selectors"):
            names.write(token)
    assert not families().keys() - names.used
    with pytest.raises(AssertionError, match="no cluster.upstream_rq_totl"):
        names.write("sum(<cluster.upstream_rq_totl>)")


# Compose.

def compose_files():
    return sorted(COMPOSE.glob("compose*.yaml"))


@pytest.mark.parametrize("path", compose_files(), ids=lambda path: path.name)
def test_compose_files_are_valid(path):
    text = interpolate(path.read_text(), {"GF_ADMIN_PASSWORD": "x"})
    compose_spec.PyCompose.from_yaml(text).validate()
    with pytest.raises(ValueError):
        compose_spec.PyCompose.from_yaml(text.replace("services:\n", "services:\n  more: {imagee: x}\n"))


def test_no_password_no_stack():
    with pytest.raises(Missing, match="GF_ADMIN_PASSWORD: set GF_ADMIN_PASSWORD in .env, there is no default password"):
        resolve([COMPOSE / "compose.yaml"], {"GF_ADMIN_PASSWORD": ""})
    example = (COMPOSE / ".env.example").read_text()
    assert re.search(r"^GF_ADMIN_PASSWORD=$", example, re.M)
    used = set(re.findall(r"\$\{(\w+)", "".join(path.read_text() for path in compose_files())))
    told = dict(re.findall(r"^#?(\w+)=(.*)$", example, re.M))
    # The Python image is only the demo's.
    assert used - {"PYTHON_IMAGE"} == told.keys()
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", (COMPOSE / "compose.yaml").read_text()):
        assert told.get(name, default) == default, name


def test_what_can_be_reached_from_outside():
    services = resolve([COMPOSE / "compose.yaml"], {"GF_ADMIN_PASSWORD": "x"})
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    # Only the proxy itself; the admin interface has no port at all.
    assert published.pop("envoy") == ["10000:10000"]
    for ports in published.values():
        for port in ports:
            assert ipaddress.ip_address(port.split(":")[0]).is_loopback, published
    assert published.keys() == {"prometheus", "grafana"}
    exporter = services["exporter"]
    assert exporter["read_only"] and exporter["cap_drop"] == ["ALL"] and exporter["user"] == "101:101"
    for service in services.values():
        assert service["restart"] == "unless-stopped"


def test_provisioning_fits():
    services = resolve([COMPOSE / "compose.yaml"], {"GF_ADMIN_PASSWORD": "x"})
    mounts = dict(volume.split(":")[1::-1] for volume in services["grafana"]["volumes"])
    (source,) = load(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = load(DEPLOY / "grafana/provisioning/dashboards/envoy.yaml")["providers"]
    assert source["uid"] == "prometheus" and source["url"] == "http://prometheus:9090"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder = provider["options"]["path"]
    assert home.startswith(folder) and (COMPOSE / mounts[folder] / home.removeprefix(folder + "/")).exists()
    assert (COMPOSE / mounts["/etc/grafana/provisioning"] / "datasources").is_dir()
    prometheus = load(DEPLOY / "prometheus/prometheus.yml")
    # The shortest window for rates follows from it.
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    done = subprocess.run(["promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_admin_interface_on_loopback_instead(tmp_path):
    stack = Stack(tmp_path, files=("compose.yaml", "compose.loopback.yaml"))
    try:
        stack.start(["envoy", "exporter"])
        exporter = "http://" + stack.address("envoy", 9091)
        wait_for("a first poll", lambda: get(exporter + "/-/ready")[0] == 200)
        assert get(f"http://{stack.address('envoy', 9901)}/ready")[0] == 200
        assert not (tmp_path / "admin/admin.sock").exists()
    finally:
        stack.stop()


def command_line(path):
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def test_one_command_starts_and_stops_it(tmp_path):
    log = tmp_path / "stack.log"
    with log.open("wb") as output:
        stack = subprocess.Popen([sys.executable, DEPLOY / "stack.py"], stdout=output, stderr=subprocess.STDOUT)
    try:
        urls = wait_for("what it prints", lambda: re.findall(r"http://\S+", log.read_text()) if "Ctrl-C" in log.read_text() else None)
        assert len(urls) == 3

        def answers():
            for url in urls:
                with OPENER.open(urllib.request.Request(url), timeout=5) as answer:
                    assert answer.status == 200
            return True

        wait_for("every URL that it prints", answers)
        folder = re.search(r"logs +(\S+)", log.read_text())[1]
    finally:
        stack.send_signal(signal.SIGINT)
        assert stack.wait(20) == 0, log.read_text()
    assert not [path for path in glob.glob("/proc/[0-9]*/cmdline") if folder in command_line(path)]


# Dashboards.

def load_dashboard(path):
    return json.loads(path.read_text())


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def lost(before, after, path=""):
    """What a reader dropped or changed; empty things may go."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], f"{path}.{key}")
            elif value not in ([], {}, None, "", False, 0):
                yield f"{path}.{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after):
            yield from lost(one, other, path + "[]")
    elif before != after:
        yield path


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_dashboards_read_back_through_grafanas_own_model(path):
    dashboard = load_dashboard(path)
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    assert {field for field in lost(dashboard, again) if not BEYOND_THE_MODEL.fullmatch(field)} == set()
    assert list(lost({"a": {"b": 1}}, {"a": {}})) == [".a.b"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_dashboards_are_whole(path):
    dashboard = load_dashboard(path)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert {"datasource", "job", "instance", "target"} <= variables
    ids = [panel["id"] for panel in dashboard["panels"]]
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(ids)) == len(ids) and len(set(titles)) == len(titles), titles
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        sources = [panel["datasource"], *[target["datasource"] for target in panel["targets"]]]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources), panel["title"]
        several = len(panel["targets"]) > 1 or " by (" in panel["targets"][0]["expr"].replace("by (le)", "")
        assert panel["type"] in ("stat", "table") or not several or all(
            target["legendFormat"] for target in panel["targets"]), panel["title"]
        for target in panel["targets"]:
            chosen = set(re.findall(r'=~"\$(\w+)"', target["expr"]))
            assert chosen <= variables and "job" in chosen, target["expr"]


def test_dashboards_have_their_own_addresses_and_links_that_lead_somewhere():
    uids = {load_dashboard(path)["uid"] for path in DASHBOARDS}
    assert len(uids) == len(DASHBOARDS)
    assert {path.stem for path in DASHBOARDS if path.parent.name == "native"} == {
        path.stem for path in DASHBOARDS if path.parent.name == "standard"}
    linked = set(re.findall(r'"/d/([\w-]+)\?', "".join(path.read_text() for path in DASHBOARDS)))
    assert linked and linked <= uids


# Rules.

def test_rules_are_valid():
    rules = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
    assert [path.stem for path in rules] == sorted(["exporter", *PROFILES])
    done = subprocess.run(["promtool", "check", "rules", "--lint-fatal", *rules], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["exporter", *PROFILES])
def test_every_alert_fires_and_stays_silent(name):
    alerts = {
        rule["alert"] for group in load(DEPLOY / f"prometheus/rules/{name}.yml")["groups"] for rule in group["rules"] if "alert" in rule}
    file = DEPLOY / f"prometheus/tests/{name}.yml"
    assert {f"{alert} {outcome}" for alert in alerts for outcome in ("fires", "silent")} == {
        test["name"] for test in load(file)["tests"]}
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_section_in_the_runbook():
    anchors = {heading.lower() for heading in re.findall(r"^### (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.M)}
    for path in (DEPLOY / "prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
                    assert (ROOT / file).exists() and anchor in anchors, rule["alert"]
                    assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_alerts_and_the_overview_need_no_more_than_the_profile_basic():
    keep = [re.sub(r"\\{[a-z_]+(\\\*)?\\}", ".+", re.escape(entry)) for entry in load(ROOT / "mappings/profiles/basic.yaml")["keep"]]
    names = Names("native", lambda *_: "", "1m")
    for path in (DEPLOY / "prometheus/rules.yaml", DEPLOY / "grafana/src/overview.yaml"):
        for token in re.findall(r"<[a-z][^<>]*>", path.read_text()):
            names.write(token)
    assert not [stat for stat in names.used if not any(re.fullmatch(entry, stat) for entry in keep)]
