"""The web configuration in front of the program: a real Prometheus and strict clients by TLS."""

import base64
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from conftest import CAPTURES
from servers import ROOT, Child, Prometheus, free_port, program, run, wait_for

IDLE = f"file://{CAPTURES}/1.40.0/idle"
# As libxcrypt makes it of it.
PASSWORD, HASH = "pencil", "$2y$05$aaaaaaaaaaaaaaaaaaaaauycvAZ6NbFznthGArKnEmkEy.manR1FW"
USERS = f"basic_auth_users: {{amy: {HASH}}}\n"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
CLIENTS = """  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example]
"""


@pytest.fixture
def tls(tmp_path, certificates):
    """A folder with a server's certificate and a client's, and their authority."""
    folder = tmp_path / "web"
    folder.mkdir()
    shutil.copy(certificates.server[0], folder / "server.pem")
    shutil.copy(certificates.server[1], folder / "server.key")
    shutil.copy(certificates.authority, folder / "ca.pem")
    authority_key = certificates.authority.with_name("ca.key")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", "client.key", "-out", "client.csr", "-subj", "/CN=prometheus")
    (folder / "ext").write_text("subjectAltName=DNS:prometheus.example\nextendedKeyUsage=clientAuth\n")
    openssl("x509", "-req", "-in", "client.csr", "-CA", "ca.pem", "-CAkey", str(authority_key), "-CAcreateserial",
            "-out", "client.pem", "-days", "2", "-extfile", "ext")
    return SimpleNamespace(folder=folder, ca=folder / "ca.pem", pair=(folder / "client.pem", folder / "client.key"))


class Secured(Child):
    """The program under a web configuration, ready when its own check says so."""

    def __init__(self, directory, config, *flags):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.flags = ["--web.listen-address", self.address, "--web.config.file", str(config)]
        super().__init__(
            "exporter",
            [program(), "--envoy.admin-address", IDLE, "--envoy.poll-interval", "200ms", *self.flags, *flags],
            directory,
        )
        wait_for("it is healthy", lambda: run("healthcheck", *self.flags).returncode == 0)

    def status(self, path="/metrics", scheme="https", context=None, headers=None):
        request = urllib.request.Request(f"{scheme}://{self.address}{path}", headers=headers or {})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with opener.open(request, timeout=10) as answer:
                answer.read()
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code


def context(ca, pair=None):
    made = ssl.create_default_context(cafile=str(ca))
    if pair:
        made.load_cert_chain(*map(str, pair))
    return made


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_prometheus_scrapes_with_a_certificate_and_a_password(tmp_path, tls, children):
    config = tls.folder / "web.yaml"
    config.write_text(TLS + CLIENTS + USERS)
    exporter = Secured(tmp_path, config)
    children(exporter)

    def job(name, pair, password):
        certificate = {"cert_file": str(pair[0]), "key_file": str(pair[1])} if pair else {}
        return {
            "job_name": name, "scheme": "https", "static_configs": [{"targets": [exporter.address]}],
            "tls_config": {"ca_file": str(tls.ca), "server_name": "localhost", **certificate},
            "basic_auth": {"username": "amy", "password": password},
        }

    prometheus = Prometheus(tmp_path, [], jobs=[
        job("right", tls.pair, PASSWORD), job("no-certificate", None, PASSWORD), job("wrong", tls.pair, "brush"),
    ])
    children(prometheus)
    wait_for("it is scraped", lambda: prometheus.value('envoy_up{job="right"}') == 1)
    wait_for("again and again", lambda: prometheus.value('count_over_time(up{job="right"}[1m])') >= 4)
    up = {labels["job"]: value for labels, value in prometheus.query("up")}
    assert up == {"right": 1, "no-certificate": 0, "wrong": 0}
    # Wrong passwords are answers too, and counted.
    assert prometheus.value('envoy_exporter_http_requests_total{job="right",handler="metrics",code="401"}') > 0
    assert exporter.stop() == 0


def test_who_gets_what(tmp_path, tls, children):
    config = tls.folder / "web.yaml"
    config.write_text(TLS + CLIENTS + USERS)
    exporter = Secured(tmp_path, config)
    children(exporter)
    own = context(tls.ca, tls.pair)
    assert exporter.status(context=own, headers=basic("amy", PASSWORD)) == 200
    for headers in ({}, basic("amy", "x"), basic("bob", PASSWORD)):
        for path in ("/metrics", "/", "/-/healthy", "/nothing"):
            assert exporter.status(path, context=own, headers=headers) == 401
    with pytest.raises(OSError):
        exporter.status(context=context(tls.ca), headers=basic("amy", PASSWORD))
    assert exporter.status(scheme="http") == 400
    done = run("healthcheck", "--web.listen-address", exporter.address)
    assert done.returncode == 1 and "400" in done.stderr


def test_a_new_certificate_and_a_new_password_are_taken(tmp_path, tls, children):
    config = tls.folder / "web.yaml"
    config.write_text(TLS + USERS)
    exporter = Secured(tmp_path, config)
    children(exporter)
    trusting = context(tls.ca)
    assert exporter.status(context=trusting, headers=basic("amy", PASSWORD)) == 200
    # Mistakes change nothing, and are told once.
    config.write_text(TLS + "basic_auth_users: {amy: brush}\n")
    wait_for("the mistake is told", lambda: "is not a bcrypt hash" in exporter.text())
    time.sleep(2.5)
    assert exporter.text().count("is not a bcrypt hash") == 1
    assert exporter.status(context=trusting, headers=basic("amy", PASSWORD)) == 200
    # What was given as a password is not.
    assert "brush" not in exporter.text()
    config.write_text(TLS + f"basic_auth_users: {{bob: {HASH}}}\n")
    wait_for("the new user is let in", lambda: exporter.status(context=trusting, headers=basic("bob", PASSWORD)) == 200)
    assert exporter.status(context=trusting, headers=basic("amy", PASSWORD)) == 401
    shutil.copy(tls.folder / "client.pem", tls.folder / "server.pem")
    shutil.copy(tls.folder / "client.key", tls.folder / "server.key")

    def subject():
        with socket.create_connection(("127.0.0.1", exporter.port), timeout=5) as connection:
            lax = ssl.create_default_context(cafile=str(tls.ca))
            lax.check_hostname = False
            with lax.wrap_socket(connection) as secured:
                return dict(secured.getpeercert()["subject"][0])["commonName"]

    def is_new():
        try:
            return subject() == "prometheus"
        except ssl.SSLCertVerificationError:
            # A client's certificate is none for servers: that is the new one too.
            return True

    wait_for("the new certificate is served", is_new)


def test_check_and_serve_tell_the_mistakes_of_both_files(tmp_path, tls):
    web = tls.folder / "web.yaml"
    config = tmp_path / "config.yaml"
    config.write_text("poll: {interval: soon}\n")
    web.write_text("tls_server_config: {cert_file: none.pem}\nbasic_auth_users: {amy: pencil}\n")
    for command in ("check", "serve"):
        done = run(command, "--config.file", config, "--web.config.file", web)
        assert done.returncode == 1
        for start in (f"{config}:1:", f"{web}:1:20: ", f"{web}:1:32: cert_file: ", f"{web}:2:25: "):
            assert start in done.stderr, done.stderr
        assert "pencil" not in done.stderr
    web.write_text(USERS)
    done = run("check", "--web.config.file", web)
    assert done.returncode == 0 and "clear text" in done.stdout
    done = run("check", env={"ENVOY_EXPORTER_WEB_CONFIG_FILE": str(tmp_path / "none.yaml")})
    assert done.returncode == 1 and "none.yaml: No such file" in done.stderr


def test_the_example_in_the_docs(tmp_path, tls):
    text = (ROOT / "docs/configuration.md").read_text()
    section = text[text.index("## Web configuration"):]
    example = re.search(r"^```yaml\n(.*?)^```$", section, re.M | re.S).group(1)
    shutil.copy(tls.pair[0], tls.folder / "clients.pem")
    web = tls.folder / "web.yaml"
    web.write_text(example)
    done = run("check", "--web.config.file", web)
    assert done.returncode == 0 and "warning" not in done.stdout, done.stderr + done.stdout
