"""Targets that are not there, are not Envoy, or misbehave: each has its error, and nothing is lost."""

import re
import threading

import fake_admin
import pytest
from servers import Envoy, Exporter, free_port, get, run, wait_for

GOOD = b'{"stats":[{"name":"server.live","value":1}]}'

# What it does, what the error says of it, and the outcome that is counted.
FAULTS = {
    "404": (fake_admin.says(fake_admin.answer(b"no", "404 Not Found")), "404", "status"),
    "500": (fake_admin.says(fake_admin.answer(b"no", "500 Internal Server Error")), "500", "status"),
    "503": (fake_admin.says(fake_admin.answer(b"no", "503 Service Unavailable")), "503", "status"),
    "a redirect": (
        fake_admin.says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        "302", "status",
    ),
    "HTML": (fake_admin.says(fake_admin.answer(b"<html>hello</html>")), r"counters.* byte 0\b", "decode"),
    "truncated JSON": (fake_admin.says(fake_admin.answer(GOOD[:-7])), r"counters.* byte \d+", "decode"),
    "an empty body": (fake_admin.says(fake_admin.answer(b"")), r"counters.* byte", "decode"),
    "another shape": (fake_admin.says(fake_admin.answer(b'{"stats":{"a":1}}')), r"counters.* byte \d+", "decode"),
    "no stats in it": (fake_admin.says(fake_admin.answer(b'{"configs":[]}')), r"counters.*stats", "decode"),
    "a value of another type": (
        fake_admin.says(fake_admin.answer(b'{"stats":[{"name":"a","value":[]}]}')), r"counters.* byte \d+", "decode"),
    "2^64": (
        fake_admin.says(fake_admin.answer(b'{"stats":[{"name":"a","value":18446744073709551616}]}')),
        r"counters.* byte \d+", "decode"),
    "no HTTP": (fake_admin.says(b"SSH-2.0-OpenSSH_9.2\r\n"), "", "read"),
    "a body that ends early": (fake_admin.cut, "", "read"),
    "an endless body": (fake_admin.endless, "1048576", "too_large"),
    "a slow body": (fake_admin.trickle, "time|700ms", "timeout"),
    "silence": (fake_admin.silent, "time|700ms", "timeout"),
}


@pytest.fixture
def small_limits(tmp_path):
    file = tmp_path / "limits.yaml"
    file.write_text("limits: {body: 1MiB}\npoll: {timeout: 700ms}\n")
    return ["--config.file", file]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_error_and_the_process_lives(name, small_limits, children, tmp_path):
    behavior, message, outcome = FAULTS[name]
    admin = fake_admin.FakeAdmin(behavior)
    done = run("once", "--envoy.admin-address", admin.address, *small_limits)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(message, done.stderr), done.stderr
    assert "panicked" not in done.stderr

    exporter = Exporter(
        tmp_path, "--envoy.admin-address", admin.address, "--envoy.poll-interval", "100ms", *small_limits)
    children(exporter)
    counted = f'envoy_exporter_polls_total{{outcome="{outcome}",target="envoy"}}'
    lines = wait_for(
        "two polls are counted",
        lambda: [line for line in exporter.metrics().splitlines() if line.startswith(counted) and float(line.split()[-1]) >= 2],
    )
    assert lines
    text = exporter.metrics()
    assert 'envoy_up{target="envoy"} 0\n' in text
    assert "server_live" not in text
    assert exporter.stop() == 0
    admin.stop()


def test_targets_that_are_not_there(tmp_path):
    for address, message in [
        (f"http://127.0.0.1:{free_port()}", "refused"),
        (f"unix://{tmp_path}/none.sock", "No such file|none.sock"),
        (f"unix://{tmp_path}", "refused|directory|socket"),
        (f"file://{tmp_path}/none", "none"),
        (f"file://{tmp_path}", "counters.json|stats.json"),
    ]:
        done = run("once", "--envoy.admin-address", address, "--envoy.timeout", "2s")
        assert done.returncode == 1, address
        assert done.stdout == "", address
        assert re.search(message, done.stderr), (address, done.stderr)


def test_a_server_that_is_no_envoy(upstream, tmp_path, children):
    # The wrong port of a real proxy: its traffic, not its admin.
    proxy = Envoy("1.40.0", tmp_path, upstream.port)
    children(proxy)
    done = run("once", "--envoy.admin-address", f"http://127.0.0.1:{proxy.port}")
    assert done.returncode == 1 and "404" in done.stderr


def test_concurrent_scrapes_share_a_poll(tmp_path, children):
    admin = fake_admin.FakeAdmin(fake_admin.late)
    exporter = Exporter(tmp_path, "--envoy.admin-address", admin.address, "--envoy.poll-interval", "0s")
    children(exporter)
    assert admin.requests == []
    before = len(admin.requests)
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(exporter.metrics())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 20 and all('envoy_up{target="envoy"} 1\n' in text for text in texts)
    counters = [request for request in admin.requests[before:] if "type=Counters" in request]
    # A scrape that comes while a poll is under way may wait for the next one, and no other.
    assert 1 <= len(counters) <= 2, counters
    exporter.metrics()
    assert len([request for request in admin.requests if "type=Counters" in request]) == len(counters) + 1
    admin.stop()


def test_only_harmless_requests_are_made(newest_envoy, tmp_path, children):
    asked = []

    def passed_on(connection, head):
        method, path = head.split(b" ")[:2]
        asked.append((method.decode(), path.decode()))
        _, _, text = get(newest_envoy.admin + path.decode())
        connection.sendall(fake_admin.answer(text.encode()))

    admin = fake_admin.FakeAdmin(passed_on)
    exporter = Exporter(tmp_path, "--envoy.admin-address", admin.address, "--envoy.poll-interval", "200ms")
    children(exporter)
    exporter.wait_ready_target()
    wait_for("more polls", lambda: len(asked) > 12)
    paths = {path.split("?")[0] for _, path in asked}
    assert {method for method, _ in asked} == {"GET"}
    assert paths <= {"/stats", "/clusters", "/server_info"}, paths
    # Bounds are asked for when a histogram is new, not with every poll.
    assert len([path for _, path in asked if "cumulative" in path]) == 1
    admin.stop()
