"""What the tests share. A server that is missing is a failure."""

import subprocess
import tarfile
from types import SimpleNamespace

import pytest

from servers import ROOT, Envoy, Upstream

CAPTURES = ROOT / "testdata/captures"
VERSIONS = ["1.40.0", "1.36.4"]


def capture_names():
    packed = [path.relative_to(CAPTURES).as_posix().removesuffix(".tar.xz") for path in CAPTURES.glob("*/*.tar.xz")]
    plain = [path.parent.relative_to(CAPTURES).as_posix() for path in CAPTURES.glob("*/*/counters.json")]
    return sorted(packed + plain)


@pytest.fixture(scope="session")
def captures(tmp_path_factory):
    """The folder of each capture, unpacked."""
    directory = tmp_path_factory.mktemp("captures")

    def folder(name):
        if (CAPTURES / name).is_dir():
            return CAPTURES / name
        if not (directory / name).is_dir():
            with tarfile.open(CAPTURES / f"{name}.tar.xz") as archive:
                archive.extractall(directory / name, filter="data")
        return directory / name

    return folder


@pytest.fixture(scope="session")
def upstream():
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def children():
    """Stops what a test started, last first."""
    started = []
    yield started.append
    for child in reversed(started):
        if child.process.poll() is None:
            child.kill()


@pytest.fixture(params=VERSIONS)
def envoy(request, tmp_path, upstream):
    server = Envoy(request.param, tmp_path, upstream.port)
    yield server
    server.kill()


@pytest.fixture
def newest_envoy(tmp_path, upstream):
    server = Envoy(VERSIONS[0], tmp_path, upstream.port)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A throwaway authority, certificates of a server on loopback and of a client, and an authority that signed nothing."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other"):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")
    return SimpleNamespace(
        server=(folder / "server.pem", folder / "server.key"),
        client=(folder / "client.pem", folder / "client.key"),
        authority=folder / "ca.pem", other=folder / "other.pem",
    )
