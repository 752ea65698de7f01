"""The units of deploy/systemd: what systemd says of them, and what they start."""

import configparser
import re
import subprocess

from servers import ROOT, Child, free_port, get, program, run, wait_for

UNITS = ROOT / "deploy/systemd"
SERVICE = UNITS / "envoy-exporter.service"


class Several(dict):
    """Keys that stand more than once keep all their values."""

    def __setitem__(self, key, value):
        super().__setitem__(key, self[key] + value if isinstance(value, list) and key in self else value)


def unit(path):
    parser = configparser.RawConfigParser(dict_type=Several, strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str
    parser.read_string(path.read_text())
    return parser


def installed(folder):
    """The units with the program where it is built."""
    for path in UNITS.iterdir():
        (folder / path.name).write_text(path.read_text().replace("/usr/local/bin/envoy-exporter", str(program())))
    return folder / SERVICE.name, folder / "envoy-exporter.socket"


def analyze(*arguments):
    done = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_systemd_has_nothing_to_say(tmp_path):
    service, socket = installed(tmp_path)
    assert analyze("verify", service, socket) == (0, "")
    service.write_text(service.read_text().replace("MemoryMax", "MemoryMaximum"))
    assert "MemoryMaximum" in analyze("verify", service)[1]


def test_it_is_shut_in(tmp_path):
    service, _ = installed(tmp_path)
    # The threshold is ten times the number that is shown: this is "OK", and 1.3 at most.
    code, text = analyze("security", "--offline=true", "--no-pager", "--threshold=14", service)
    assert code == 0, text
    code, _ = analyze("security", "--offline=true", "--no-pager", "--threshold=5", service)
    assert code != 0


def test_its_words_are_the_programs():
    service = unit(SERVICE)["Service"]
    command = service["ExecStart"].split()
    offered = run("--help").stdout
    for flag in command[1:]:
        assert re.search(rf"^ +{re.escape(flag)}[\[ <\n]", offered, re.M), flag
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    image = (ROOT / "Dockerfile").read_text()
    assert service["Environment"] == re.search(r"^ENV (.*)$", image, re.M).group(1)


def test_it_serves_on_the_socket_that_it_is_handed(tmp_path, children):
    """By systemd's own tool, with what the service runs."""
    command = unit(SERVICE)["Service"]["ExecStart"].split()[1:]
    port = free_port()
    capture = ROOT / "testdata/captures/1.40.0/idle"
    child = Child("activated", ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-E",
                                f"ENVOY_EXPORTER_ENVOY_ADMIN_ADDRESS=file://{capture}", program(), *command], tmp_path)
    children(child)
    wait_for("it serves", lambda: get(f"http://127.0.0.1:{port}/-/ready")[0] == 200)
    assert 'envoy_up{target="envoy"} 1' in get(f"http://127.0.0.1:{port}/metrics")[2]
