"""The program as a person meets it: its commands, exit codes and messages."""

import re
import signal
import subprocess
import time
from pathlib import Path

import exposition
import pytest
from conftest import CAPTURES
from servers import ROOT, Exporter, free_port, get, program, run, wait_for

IDLE = f"file://{CAPTURES}/1.40.0/idle"


def test_help_names_every_command_and_flag():
    text = run("--help").stdout
    for command in ("serve", "once", "check", "explain", "coverage", "capture", "demo", "healthcheck"):
        assert re.search(rf"^  {command} ", text, re.M), command
    documented = set(re.findall(r"`(--[a-z_.-]+)", (ROOT / "docs/configuration.md").read_text()))
    offered = set(re.findall(r"^ +(?:-\w, )?(--[a-z_.-]+)", text, re.M)) - {"--help", "--version"}
    assert offered == documented
    assert run("--version").stdout.startswith("envoy-exporter ")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--no-such-flag"], 2, "unexpected argument"),
        (["--envoy.poll-interval", "soon"], 2, "--envoy.poll-interval"),
        (["--envoy.timeout", "0s"], 2, "more than 0s"),
        (["--envoy.admin-address", "ftp://x"], 2, "--envoy.admin-address"),
        (["--envoy.admin-address", "http://user:secret@127.0.0.1"], 2, "--envoy.admin-address"),
        (["--web.listen-address", "nowhere"], 2, "--web.listen-address"),
        (["--web.listen-address", "127.0.0.1:99999"], 2, "--web.listen-address"),
        (["--web.max-requests", "0"], 2, "above 0"),
        (["--log.level", "loud"], 2, "--log.level"),
        (["--web.telemetry-path", "metrics"], 1, "must start with /"),
        (["--web.telemetry-path", "/-/ready"], 1, "another use"),
        (["--config.file", "/no/such/file.yaml"], 1, "/no/such/file.yaml"),
        (["--mapping", "/no/such/table.yaml"], 1, "/no/such/table.yaml"),
    ],
)
def test_bad_flags_are_refused(flags, code, message):
    done = run(*flags, "--web.listen-address", "127.0.0.1:0") if "--web.listen-address" not in flags else run(*flags)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_every_mistake_in_a_file_is_named_with_its_place(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("poll:\n  interval: soon\n  intervall: 5s\n")
    done = run("check", "--config.file", file)
    assert done.returncode == 1
    assert re.search(rf"{file}:\d+:\d+", done.stderr), done.stderr


def test_the_environment_stands_behind_the_flags():
    env = {"ENVOY_EXPORTER_ENVOY_ADMIN_ADDRESS": IDLE}
    done = run("once", env=env)
    assert done.returncode == 0 and "envoy_cluster_membership_total" in done.stdout
    done = run("once", "--envoy.admin-address", "file:///no/such/capture", env=env)
    assert done.returncode == 1


def test_check_and_explain():
    assert run("check").returncode == 0
    done = run("explain", "cluster.outbound|80||a.b.c.upstream_rq_503")
    assert done.returncode == 0
    assert 'envoy_cluster_upstream_rq{envoy_cluster_name="outbound|80||a.b.c",envoy_response_code="503"}' in done.stdout
    done = run("explain", "some.thing.of.mine")
    assert done.returncode == 1 and "envoy_some_thing_of_mine" in done.stdout


def test_a_busy_port_is_an_error(tmp_path, children):
    exporter = Exporter(tmp_path, "--envoy.admin-address", IDLE)
    children(exporter)
    done = run("--envoy.admin-address", IDLE, "--web.listen-address", f"127.0.0.1:{exporter.port}")
    assert done.returncode == 1
    assert str(exporter.port) in done.stderr and "in use" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it(tmp_path, number, children):
    exporter = Exporter(tmp_path, "--envoy.admin-address", IDLE)
    children(exporter)
    start = time.monotonic()
    assert exporter.stop(number) == 0
    assert time.monotonic() - start < 5
    assert "stopped" in exporter.text()


def test_healthcheck(tmp_path, children):
    exporter = Exporter(tmp_path, "--envoy.admin-address", IDLE)
    children(exporter)
    assert run("healthcheck", "--web.listen-address", f"127.0.0.1:{exporter.port}").returncode == 0
    done = run("healthcheck", "--web.listen-address", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1 and "refused" in done.stderr


def test_the_paths(tmp_path, children):
    exporter = Exporter(tmp_path, "--envoy.admin-address", IDLE, "--envoy.poll-interval", "0s")
    children(exporter)
    exporter.metrics()
    for path, method, want in [
        ("/", "GET", 200), ("/", "HEAD", 200), ("/", "POST", 405), ("/metrics", "HEAD", 200),
        ("/metrics", "POST", 405), ("/-/healthy", "GET", 200), ("/-/ready", "HEAD", 200),
        ("/-/reload", "POST", 403), ("/-/quit", "PUT", 403), ("/-/quit", "GET", 405), ("/nothing", "GET", 404),
        ("/metrics/", "GET", 404), ("//metrics", "GET", 404),
    ]:
        assert get(exporter.url + path, method=method)[0] == want, (path, method)
    page = get(exporter.url + "/")[2]
    assert IDLE in page and 'href="metrics"' in page


def test_families_are_selected(tmp_path, children):
    exporter = Exporter(tmp_path, "--envoy.admin-address", IDLE, "--envoy.poll-interval", "0s")
    children(exporter)
    families, _ = exposition.read(exporter.metrics("envoy_cluster_membership_total", "envoy_up", "none"))
    assert list(families) == ["envoy_cluster_membership_total", "envoy_up"]
    families, series = exposition.read(exporter.metrics("envoy_exporter_build_info"))
    assert len(series) == 1


def test_the_own_metrics_are_the_documented_ones(tmp_path, children):
    documented = set(re.findall(r"^\| `((?:envoy|process)_[a-z_]+)", (ROOT / "docs/metrics.md").read_text(), re.M))
    # test_merge.py looks at those of sources.
    documented = {name for name in documented if not name.startswith("envoy_exporter_merge_")}
    pushing = {name for name in documented if name.startswith("envoy_exporter_push_")}

    def own(text):
        # One has the hash of what was read: without a file there is none.
        config = tmp_path / "config.yaml"
        config.write_text(text)
        exporter = Exporter(tmp_path, "--envoy.admin-address", IDLE, "--config.file", config)
        children(exporter)
        exporter.wait_ready_target()
        families, _ = exposition.read(exporter.metrics())
        return {name for name in families if re.match(r"envoy_up|envoy_exporter_|process_", name)}

    assert own("poll: {interval: 1s}\n") == documented - pushing
    # Nobody listens there, so that no push is ever taken.
    url = "url: 'http://127.0.0.1:9'"
    shown = own(f"push: {{pushgateway: {{{url}, job: envoy}}, remote_write: {{{url}}}}}\n")
    assert shown == documented - {"envoy_exporter_push_last_success_timestamp_seconds"}


def test_the_demo_moves(tmp_path, children):
    demo = Exporter(tmp_path, "--envoy.poll-interval", "100ms", command=["demo"])
    children(demo)
    demo.wait_ready_target()

    def total():
        _, series = exposition.read(demo.metrics("envoy_cluster_upstream_rq_total"))
        return sum(float(values[0]) for values in series.values())

    first = total()
    assert first > 0
    wait_for("its counters move", lambda: total() > first)
    assert demo.stop() == 0


def test_a_closed_pipe_is_no_panic():
    done = subprocess.run(
        f"{program()} once --envoy.admin-address {IDLE} | head -n 1", shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("# HELP")
    assert "panicked" not in done.stderr


def test_the_tables_in_the_docs_are_valid(tmp_path):
    text = (ROOT / "docs/mapping.md").read_text()
    blocks = re.findall(r"^```yaml\n([^`]*)```", text, re.M)
    assert len(blocks) >= 7
    for block in blocks:
        table = tmp_path / "table.yaml"
        table.write_text(block)
        done = run("check", "--mapping", table)
        assert done.returncode == 0, (block, done.stderr)


def test_the_make_demo_script():
    done = subprocess.run([str(Path(ROOT / "tests/demo.sh"))], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "->" in done.stdout
