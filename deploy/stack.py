#!/usr/bin/env python3
"""Runs what compose/compose.yaml describes with programs of this machine instead of containers.

The same commands, environment and configuration files: only addresses and paths are rewritten, because here all
services share one network and one file system. `make stack` runs it; so do the tests. Grafana is left out.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
COMPOSE = HERE / "compose"
PLACEHOLDER = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")


class Missing(Exception):
    """A variable that has no default is not set."""


def interpolate(text, environment):
    """As compose does it, for the forms that our files have."""
    def value(match):
        name, operator, rest = match.groups()
        if environment.get(name):
            return environment[name]
        if operator == ":?":
            raise Missing(f"{name}: {rest}")
        return rest or ""
    return PLACEHOLDER.sub(value, text)


def resolve(files, environment):
    """The services of compose files, the later files over the earlier ones."""
    services = {}
    for file in files:
        document = yaml.safe_load(interpolate(Path(file).read_text(encoding="utf-8"), environment))
        for name, service in document["services"].items():
            merged = services.setdefault(name, {"environment": {}, "volumes": []})
            environment_of = {**merged["environment"], **service.get("environment", {})}
            volumes = merged["volumes"] + service.get("volumes", [])
            merged |= {**service, "environment": environment_of, "volumes": volumes}
    return services


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name, default):
    found = os.environ.get(name) or shutil.which(default) or default
    if not Path(found).exists():
        raise SystemExit(f"no {default}: set {name}")
    return found


def programs():
    """What stands in for each image's own program."""
    newest = sorted(ROOT.glob(".servers/envoy-*/bin/envoy-*"))
    return {
        "envoy": [program("ENVOY", str(newest[-1]) if newest else "envoy")],
        "exporter": [program("ENVOY_EXPORTER_BINARY", str(ROOT / "target/debug/envoy-exporter"))],
        "prometheus": [program("PROMETHEUS", "prometheus")],
        "python": [sys.executable],
    }


class Stack:
    """The services as child processes. `edits` are replacements in configuration files, by file name; `extra` are
    more arguments, and `environment` more variables, by service."""

    def __init__(self, directory, files=("compose.yaml",), variables=None, edits=None, extra=None, environment=None):
        self.directory = Path(directory)
        self.services = resolve([COMPOSE / file for file in files], {"GF_ADMIN_PASSWORD": "unused", **(variables or {})})
        self.edits, self.extra, self.environment = edits or {}, extra or {}, environment or {}
        self.ports, self.children = {}, {}
        self.programs = programs()

    def port(self, service, number):
        """The port of this machine that stands for a port of a service."""
        # A service in another's network namespace is reached under the other's name.
        return self.ports.setdefault((service, int(number)), free_port())

    def address(self, service, number):
        return f"127.0.0.1:{self.port(service, number)}"

    def rewrite(self, text, service, mounts):
        names = "|".join(sorted(self.services, key=len, reverse=True))

        def endpoint(match):
            host = match[1] if match[1] in self.services else service
            known = int(match[2]) in self.ports.values()
            return match[0] if known else self.address(host, match[2])

        def structured(match):
            host = match[1] if match[1] in self.services else service
            return f"address: 127.0.0.1, port_value: {self.port(host, match[2])}"

        text = re.sub(rf"\b({names}|localhost|127[.]0[.]0[.]1):(\d+)\b", endpoint, text)
        text = re.sub(r"address: ([\w.-]+), port_value: (\d+)", structured, text)
        for target in sorted(mounts, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(target)}(?![\w-])", str(mounts[target]), text)
        return text

    def mounts(self, name):
        """Where each path of a container is here. Files are copied with what stands in them rewritten."""
        result = {}
        for volume in self.services[name]["volumes"]:
            source, target = volume.split(":")[:2]
            if not source.startswith("."):
                result[target] = self.directory / source
                result[target].mkdir(parents=True, exist_ok=True)
            elif (COMPOSE / source).is_dir():
                result[target] = (COMPOSE / source).resolve()
            else:
                result[target] = self.directory / Path(source).name
        for volume in self.services[name]["volumes"]:
            source, target = volume.split(":")[:2]
            if source.startswith(".") and (COMPOSE / source).is_file():
                text = (COMPOSE / source).read_text(encoding="utf-8")
                for old, new in self.edits.get(Path(source).name, {}).items():
                    assert old in text, f"{source} has no {old!r}"
                    text = text.replace(old, new)
                result[target].write_text(self.rewrite(text, name, result), encoding="utf-8")
        return result

    def command(self, name, mounts):
        service = self.services[name]
        command = [self.rewrite(part, self.namespace(name), mounts) for part in service.get("command", [])]
        if name == "envoy":
            command = self.programs["envoy"] + command[1:] + ["--use-dynamic-base-id", "--concurrency", "2"]
        elif name == "exporter":
            command = self.programs["exporter"] + command
        elif name == "prometheus":
            command = self.programs["prometheus"] + command + [f"--web.listen-address={self.address(name, 9090)}"]
        else:
            command = self.programs["python"] + command[1:]
        return command + self.extra.get(name, [])

    def namespace(self, name):
        return self.services[name].get("network_mode", f"service:{name}").removeprefix("service:")

    def start(self, names=None):
        """Starts the services, or all but Grafana, those that others need first."""
        for name in names or sorted(set(self.services) - {"grafana"}, key=lambda name: name != "envoy"):
            mounts = self.mounts(name)
            environment = {key: value for key, value in os.environ.items() if not key.startswith("ENVOY_EXPORTER_")}
            for key, value in self.services[name]["environment"].items():
                environment[key] = self.rewrite(value, self.namespace(name), mounts)
            if name == "exporter":
                environment["ENVOY_EXPORTER_WEB_LISTEN_ADDRESS"] = self.address(self.namespace(name), 9091)
            if name.startswith("upstream"):
                environment["PORT"] = str(self.port(name, 8080))
            environment |= self.environment.get(name, {})
            with (self.directory / f"{name}.log").open("wb") as log:
                self.children[name] = subprocess.Popen(
                    self.command(name, mounts), env=environment, cwd=self.directory, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=subprocess.STDOUT,
                )

    def ended(self):
        """The first service that is no longer there, and what it said last."""
        for name, child in self.children.items():
            if child.poll() is not None:
                log = (self.directory / f"{name}.log").read_text(errors="replace")
                return f"{name} ended with {child.returncode}:\n{log[-2000:]}"
        return None

    def stop(self):
        for child in reversed(self.children.values()):
            if child.poll() is None:
                child.terminate()
        end = time.monotonic() + 10
        for child in self.children.values():
            try:
                child.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def main():
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    with tempfile.TemporaryDirectory(prefix="envoy-stack-") as directory:
        stack = Stack(directory, variables=dict(os.environ))
        try:
            stack.start()
            print(f"Envoy       http://{stack.address('envoy', 10000)}/shop/status/200")
            print(f"exporter    http://{stack.address('envoy', 9091)}/")
            print(f"Prometheus  http://{stack.address('prometheus', 9090)}/")
            print(f"logs        {directory}\nCtrl-C stops it.", flush=True)
            while not stopped and not stack.ended():
                time.sleep(0.2)
            failed = None if stopped else stack.ended()
        finally:
            stack.stop()
    if failed:
        raise SystemExit(failed)


if __name__ == "__main__":
    main()
