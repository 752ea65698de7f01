"""Sockets that systemd hands over, and what it is told, by its own tool and its own protocol."""

import os
import signal
import socket
import subprocess
import time

import pytest
from servers import Child, Exporter, free_port, get, program, run, wait_for

DEMO = ["demo", "--web.systemd-socket", "--web.listen-address", "256.256.256.256:1"]


class Manager:
    """The end of NOTIFY_SOCKET that the service manager has."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(20)

    def told(self):
        return self.socket.recv(4096).decode().splitlines()


def curl(path):
    """A scrape over a unix socket; its text."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "10", "--unix-socket", path, "http://localhost/metrics"],
        capture_output=True, text=True)
    return done.stdout


def test_every_socket_that_is_handed_over_is_served(tmp_path, children):
    four, six, unix = free_port(), free_port(), tmp_path / "web.sock"
    listen = ["-l", f"127.0.0.1:{four}", "-l", str(unix)]
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
            listen += ["-l", f"[::1]:{six}"]
        except OSError:
            six = None
    child = Child("activated", ["systemd-socket-activate", *listen, program(), *DEMO], tmp_path)
    children(child)
    wait_for("it listens", lambda: "Listening on" in child.text())
    assert "level=info" not in child.text(), "it starts with the first connection"
    # The first connection is kept for it while it starts.
    wait_for("the first scrape", lambda: 'envoy_up{target="envoy"} 1\n' in get(f"http://127.0.0.1:{four}/metrics")[2])
    assert 'envoy_up{target="envoy"} 1\n' in curl(unix)
    if six:
        assert get(f"http://[::1]:{six}/-/healthy")[0] == 200
    text = child.text()
    assert f"address=http://127.0.0.1:{four}" in text and f"address=unix://{unix}" in text, text
    assert child.stop() == 0
    # It is systemd's, not ours to remove.
    assert unix.exists()


def handed_over(sockets, **variables):
    """Starts with these sockets from descriptor 3 on; its exit code, and what it says."""
    numbers = [handed.fileno() for handed in sockets]
    moves = " ".join(f"{3 + at}<&{number}" for at, number in enumerate(numbers))
    assert min(numbers) > 3 + len(numbers), "a shell would move one over another"
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {moves}', "bash", program(), *DEMO], capture_output=True, text=True, timeout=30,
        pass_fds=numbers, env={**os.environ, "LISTEN_FDS": str(len(sockets)), **variables})
    return done.returncode, done.stderr


def test_sockets_that_are_of_no_use():
    done = run(*DEMO)
    assert done.returncode == 1 and "systemd handed no socket over" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as good:
        # For another process.
        code, said = handed_over([good], LISTEN_PID="1")
        assert code == 1 and "systemd handed no socket over" in said, said
        with socket.create_connection(good.getsockname()) as connected:
            code, said = handed_over([good, connected])
            assert code == 1 and "socket 2 of those handed over: it is not listened on" in said, said
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            code, said = handed_over([good, udp])
            assert code == 1 and "socket 2 of those handed over: it is no stream socket" in said, said


@pytest.mark.parametrize("watched", [True, False])
def test_the_service_manager_is_told(watched, tmp_path, children):
    manager = Manager(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": manager.path}
    if watched:
        env["WATCHDOG_USEC"] = "400000"
    exporter = Exporter(tmp_path, command=["demo"], env=env)
    children(exporter)
    told = []
    while "READY=1" not in told:
        told += manager.told()
    assert f"STATUS=serving on http://127.0.0.1:{exporter.port}" in told
    if watched:
        # Twice as often as is asked for.
        start = time.monotonic()
        for _ in range(5):
            assert manager.told() == ["WATCHDOG=1"]
        took = time.monotonic() - start
        assert 0.5 < took < 5, took
    assert exporter.stop() == 0
    told = []
    while "STOPPING=1" not in told:
        told = manager.told()
    assert "WATCHDOG=1" not in told


def test_a_manager_that_is_gone_stops_nothing(tmp_path, children):
    exporter = Exporter(tmp_path, command=["demo"], env={"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "200000"})
    children(exporter)
    wait_for("it says so", lambda: "cannot tell the service manager" in exporter.text())
    assert get(exporter.url + "/-/healthy")[0] == 200


def test_the_service_manager_is_told_of_reloads(tmp_path, children):
    manager = Manager(tmp_path / "notify")
    config = tmp_path / "exporter.yml"
    config.write_text("limits: {series: 100}\n")
    exporter = Exporter(
        tmp_path, "--config.file", str(config), "--envoy.admin-address", f"http://127.0.0.1:{free_port()}",
        env={"NOTIFY_SOCKET": manager.path})
    children(exporter)
    serving = f"STATUS=serving on http://127.0.0.1:{exporter.port}"
    assert manager.told() == ["READY=1", serving]
    for text, status in [
        ("limits: {series: 200}\n", serving),
        ("limits: {series: many}\n", serving + "; the last reload failed, the configuration before it holds"),
        ("limits: {series: 300}\n", serving),
    ]:
        config.write_text(text)
        exporter.process.send_signal(signal.SIGHUP)
        before = time.monotonic_ns() // 1000
        reloading, when = manager.told()
        # By this time systemd tells whether the word is about the reload that it asked for.
        assert reloading == "RELOADING=1" and when.startswith("MONOTONIC_USEC=")
        assert abs(int(when.partition("=")[2]) - before) < 10_000_000
        assert manager.told() == ["READY=1", status]
