"""The Dockerfile, as far as it can be held without Docker: what it copies is enough, and what it runs is right."""

import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest
from servers import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())
SCRIPT = re.search(r"^RUN <<'BUILD'\n(.*?)^BUILD\n", DOCKERFILE, re.M | re.S).group(1)


def copied():
    """What goes from the folder into the stage that builds."""
    stage = DOCKERFILE.split("\nFROM scratch\n")[0]
    for words in re.findall(r"^COPY (?!--)(.+)$", stage, re.M):
        *sources, _ = words.split()
        yield from sources


def test_what_is_pinned():
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    assert re.search(r"^ARG RUST_IMAGE=rust:(\S+)-bookworm$", DOCKERFILE, re.M).group(1) == channel
    label = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', DOCKERFILE))
    package = CARGO["package"]
    assert (label["title"], label["version"], label["licenses"], label["description"]) == (
        package["name"], package["version"], package["license"], package["description"])
    assert "--locked" in SCRIPT


def test_the_image_runs_without_rights():
    last = DOCKERFILE.split("\nFROM scratch\n")[1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.M)
    assert not re.search(r"^(RUN|ADD|VOLUME)", last, re.M)
    assert re.search(r'^ENTRYPOINT \["/envoy-exporter"\]$', last, re.M)
    assert re.search(r'^HEALTHCHECK .*CMD \["/envoy-exporter", "healthcheck"\]$', last, re.M)


def test_what_is_copied_is_enough_to_build(tmp_path):
    ignored = [line.lstrip("/") for line in (ROOT / ".dockerignore").read_text().split()]
    for source in copied():
        assert source.split("/")[0] not in ignored, source
        path, target = ROOT / source, tmp_path / source
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)
    done = subprocess.run(
        ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    targets = json.loads(done.stdout)["packages"][0]["targets"]
    assert all(os.path.exists(target["src_path"]) for target in targets), targets
    for file in (tmp_path / "src").rglob("*.rs"):
        if file.stem == "tests":
            continue
        for included in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', file.read_text()):
            assert (file.parent / included).resolve().exists(), (file, included)


@pytest.mark.parametrize(("host", "arch", "tools"), [
    ("x86_64", "amd64", ""), ("x86_64", "", ""), ("x86_64", "arm64", "aarch64-linux-gnu-"),
    ("aarch64", "arm64", ""), ("aarch64", "amd64", "x86_64-linux-gnu-"),
])
def test_what_is_run_to_build(tmp_path, host, arch, tools):
    """With stand-ins for the tools that write down what they were asked."""
    log = tmp_path / "log"

    def stand_in(name, body=""):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{body}\n')
        path.chmod(0o755)

    machine = {"": host, "amd64": "x86_64", "arm64": "aarch64"}[arch]
    triple = f"{machine}-unknown-linux-gnu"
    stand_in("rustc", f"echo 'host: {host}-unknown-linux-gnu'")
    stand_in("cargo", f'env >> {log}; mkdir -p "target/{triple}/release"; echo binary > "target/{triple}/release/envoy-exporter"')
    for name in ("apt-get", "rustup", f"{tools}strip"):
        stand_in(name)
    script = SCRIPT.replace(" /envoy-exporter", f" {tmp_path}/envoy-exporter")
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "TARGETARCH": arch, "REVISION": "abc", "SOURCE_DATE_EPOCH": "86400"})
    assert done.returncode == 0, done.stderr
    asked = log.read_text()
    assert f"cargo build --release --locked --bin envoy-exporter --target {triple}\n" in asked
    assert "ENVOY_EXPORTER_REVISION=abc\n" in asked and "SOURCE_DATE_EPOCH=86400\n" in asked
    assert "target-feature=+crt-static" in asked and f"{tools}strip {tmp_path}/envoy-exporter\n" in asked
    assert (tmp_path / "envoy-exporter").stat().st_mtime == 86400
    if tools:
        assert f"rustup target add {triple}\n" in asked and f"gcc-{tools.replace('_', '-').removesuffix('-')} libc6-dev-" in asked
        variable = triple.replace("-", "_")
        assert f"CARGO_TARGET_{variable.upper()}_LINKER={tools}gcc\n" in asked and f"CC_{variable}={tools}gcc\n" in asked
    else:
        assert "apt-get" not in asked and "LINKER" not in asked


def test_other_platforms_are_refused(tmp_path):
    (tmp_path / "rustc").write_text("#!/bin/sh\necho host: x86_64-unknown-linux-gnu\n")
    (tmp_path / "rustc").chmod(0o755)
    done = subprocess.run(["sh", "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin", "TARGETARCH": "riscv64"})
    assert done.returncode == 1 and "amd64 and arm64 only" in done.stderr
