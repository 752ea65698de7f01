"""Everything that may break, broken: each fault has its outcome, nothing grows, and the process goes on by itself.

The tables of what admin interfaces and clients do are in faults.py; the other faults have a test each here.
"""

import base64
import re
import resource
import signal
import socket
import threading
import time
from pathlib import Path

import fake_admin
import faults
import pytest
from conftest import CAPTURES
from servers import Envoy, Exporter, free_port, get, run, wait_for

# What a fault may cost at its peak, in kB, above what the process has without one.
MOST_MEMORY = 48 * 1024
# Of "pencil".
HASH = "$2y$05$aaaaaaaaaaaaaaaaaaaaauycvAZ6NbFznthGArKnEmkEy.manR1FW"
LIMITS = "limits: {body: 1MiB, stats: 1000}\n"


class Watched(Exporter):
    """Polls a fake admin interface often; knows what a moment has added to its log and its memory."""

    def __init__(self, directory, admin, config, *flags, is_in_file=False, **more):
        self.file = directory / f"config-{time.monotonic_ns()}.yaml"
        self.file.write_text(config)
        address = [] if is_in_file else ["--envoy.admin-address", admin.address]
        super().__init__(directory, *address, "--config.file", self.file, "--log.level", "debug", *flags, **more)

    def polls(self):
        """Polls by outcome."""
        found = re.findall(r'^envoy_exporter_polls_total\{outcome="(\w+)",target="envoy"\} (\d+)$', self.metrics(), re.M)
        return {outcome: int(count) for outcome, count in found if int(count)}

    def sample(self, name):
        found = re.findall(rf"^{re.escape(name)} (\S+)$", self.metrics(), re.M)
        return float(found[0]) if found else None

    def memory(self, name):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M).group(1))

    def forget_peak(self):
        open(f"/proc/{self.process.pid}/clear_refs", "w").write("5")

    def ready(self):
        return get(self.url + "/-/ready")


def recovered(exporter, admin, value):
    """A good answer is taken at once, by itself."""
    admin.behavior = fake_admin.working(value)
    wait_for(
        f"{value} is served", lambda: exporter.sample("envoy_a_count") == value
        and exporter.sample('envoy_up{target="envoy"}') == 1, timeout=15)
    assert exporter.process.poll() is None


@pytest.fixture(scope="module")
def fake():
    admin = fake_admin.FakeAdmin(fake_admin.working(1))
    yield admin
    admin.stop()


def watched(tmp_path_factory, fake, stale_after):
    directory = tmp_path_factory.mktemp("faults")
    config = f"poll: {{interval: 50ms, timeout: 400ms, stale_after: {stale_after}}}\n" + LIMITS
    exporter = Watched(directory, fake, config)
    wait_for("data", lambda: exporter.ready()[0] == 200)
    return exporter


@pytest.fixture(scope="module")
def patient(tmp_path_factory, fake):
    """Serves old data for longer than any fault here lasts."""
    exporter = watched(tmp_path_factory, fake, "2m")
    yield exporter
    exporter.kill()


@pytest.fixture(scope="module")
def strict(tmp_path_factory, fake):
    """Serves no data that is older than half a second."""
    exporter = watched(tmp_path_factory, fake, "500ms")
    yield exporter
    exporter.kill()


@pytest.fixture
def admin():
    """One that a single exporter polls."""
    admin = fake_admin.FakeAdmin(fake_admin.working(1))
    yield admin
    admin.stop()


@pytest.fixture
def canary():
    """A server that nobody is to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        yield server
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("row", faults.ANSWERS, ids=lambda row: row[0])
def test_an_answer_that_is_none(row, fake, patient, strict, canary):
    _, behavior, outcome, message = row
    fake.behavior = fake_admin.working(1)
    recovered(patient, fake, 1)
    before = {exporter: (exporter.polls(), len(exporter.text()), exporter.memory("VmRSS")) for exporter in (patient, strict)}
    for exporter in before:
        exporter.forget_peak()
    if behavior == "redirect":
        port = canary.getsockname()[1]
        behavior = fake_admin.says(fake_admin.answer(b"", "302 Found", headers=f"Location: http://127.0.0.1:{port}/stats\r\n"))
    if behavior is None:
        fake.stop()
    else:
        fake.behavior = behavior

    for exporter, (polls, log, memory) in before.items():
        def counted():
            now = exporter.polls()
            more = {name: count - polls.get(name, 0) for name, count in now.items() if count > polls.get(name, 0)}
            failed = {name: count for name, count in more.items() if name != "success"}
            # The first of them may be of a poll that was under way.
            return failed if sum(failed.values()) >= 3 else None

        failed = wait_for("polls that fail", counted, timeout=30)
        assert [name for name in failed if re.fullmatch(outcome, name)], failed
        assert re.search(message, exporter.text()[log:]), exporter.text()[log:][-3000:]
        assert "panicked" not in exporter.text()[log:]
        assert exporter.sample('envoy_up{target="envoy"}') == 0
        assert exporter.memory("VmHWM") < memory + MOST_MEMORY

    # What was known is served as long as it is said to be, and no longer.
    assert patient.sample("envoy_a_count") == 1
    assert patient.ready()[0] == 200
    status, _, reason = wait_for("stale data", lambda: (found := strict.ready())[0] == 503 and found)
    assert re.search(message, reason), reason
    assert strict.sample("envoy_a_count") is None

    if behavior is None:
        fake.listen()
    for exporter in before:
        recovered(exporter, fake, 7)
    wait_for("it is ready again", lambda: strict.ready()[0] == 200)


@pytest.mark.parametrize("row", faults.ODDITIES, ids=lambda row: row[0])
def test_an_answer_that_is_odd(row, fake, patient):
    _, behavior, dropped = row
    recovered(patient, fake, 1)
    polls, memory = patient.polls(), patient.memory("VmRSS")
    patient.forget_peak()
    fake.behavior = behavior
    wait_for("its numbers", lambda: patient.sample("envoy_a_count") == 5 and patient.sample("envoy_a_level") == 5)
    wait_for("polls", lambda: patient.polls()["success"] > polls["success"] + 4)
    text = patient.metrics()
    found = re.findall(r'^envoy_exporter_dropped_series\{reason="(\w+)",target="envoy"\} (\d+)$', text, re.M)
    assert {reason: int(count) for reason, count in found if int(count)} == dropped
    assert "forged" not in text
    assert patient.memory("VmHWM") < memory + MOST_MEMORY
    now = patient.polls()
    assert {name: count for name, count in now.items() if name != "success"} == {
        name: count for name, count in polls.items() if name != "success"}
    recovered(patient, fake, 7)
    assert patient.sample('envoy_exporter_dropped_series{reason="limit",target="envoy"}') == 0


def test_an_admin_interface_that_flaps(tmp_path, admin, children):
    # Four requests a poll: some polls get a good answer to each, most do not.
    good = [fake_admin.working(value) for value in range(1, 11)]
    admin.behavior = fake_admin.in_turn(
        *good, fake_admin.says(fake_admin.answer(b"no", "503 Service Unavailable")))
    exporter = Watched(tmp_path, admin, "poll: {interval: 50ms, timeout: 2s}\n")
    children(exporter)

    def whole():
        text = exporter.metrics()
        counts, levels = (re.findall(rf"^envoy_a_{what} (\d+)$", text, re.M) for what in ("count", "level"))
        # Each request is answered with the next number.
        assert len(counts) == len(levels) and all(int(levels[0]) == int(count) + 1 for count in counts)
        polls = exporter.polls()
        return polls.get("success", 0) > 5 and polls.get("status", 0) > 5

    wait_for("polls of both kinds", whole)
    recovered(exporter, admin, 9)


def test_other_stats_with_every_poll_take_no_more_memory(fake, patient):
    recovered(patient, fake, 1)
    fake.behavior = fake_admin.churning()

    def after(count):
        start = patient.polls()["success"]
        wait_for("polls", lambda: patient.polls()["success"] >= start + count, timeout=60)
        return patient.memory("VmRSS")

    warm = after(20)
    assert after(60) < warm + 8 * 1024
    recovered(patient, fake, 7)


def test_a_name_of_100_megabytes(tmp_path, admin, children):
    name = b"n" * 1024 * 1024
    admin.behavior = fake_admin.again(
        fake_admin.CHUNKED + fake_admin.chunk(b'{"stats":[{"name":"'), fake_admin.chunk(name), count=100)
    exporter = Watched(tmp_path, admin, "poll: {interval: 100ms, timeout: 10s}\n")
    children(exporter)
    wait_for("it is refused", lambda: exporter.polls().get("decode", 0) >= 2)
    assert "more than 32 MiB" in exporter.text()
    assert exporter.memory("VmHWM") < 160 * 1024
    recovered(exporter, admin, 7)


def statuses(answer):
    return [int(code) for code in re.findall(rb"^HTTP/1\.1 (\d{3}) ", answer, re.M)]


def talk(exporter, data):
    """Everything that comes back, until the other end closes or has no more to say."""
    with socket.create_connection(("127.0.0.1", exporter.port), timeout=15) as client:
        answer = b""
        try:
            client.sendall(data)
            while piece := client.recv(65536):
                answer += piece
                client.settimeout(0.4)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        return answer


@pytest.mark.parametrize("row", faults.REQUESTS, ids=lambda row: row[0])
def test_a_request_that_means_harm(row, fake, patient):
    _, sent, want = row
    answer = talk(patient, sent)
    assert statuses(answer) == want, answer[:2000]
    assert b"secret" not in answer
    assert patient.ready()[0] == 200


def test_a_thousand_connections_and_a_reader_that_never_reads(tmp_path, admin, children):
    exporter = Watched(tmp_path, admin, "poll: {interval: 50ms, timeout: 2s}\n")
    children(exporter)
    recovered(exporter, admin, 1)
    memory = exporter.memory("VmRSS")
    idle = []
    for number in range(1000):
        client = socket.socket()
        client.setblocking(False)
        idle.append(client)
        # Those that there is no place for wait, and so does whoever comes behind them.
        client.connect_ex(("127.0.0.1", exporter.port))
        try:
            if number % 3 == 0:
                client.send(b"GET /metrics HTTP/1.1\r\n")
            elif number % 3 == 1:
                # Asks and never reads.
                client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        except OSError:
            pass
    before = admin.requests[:]
    wait_for("polls go on", lambda: len(admin.requests) > len(before) + 8)
    # Who is idle gives way to who asks.
    assert get(exporter.url + "/-/healthy", timeout=10)[0] == 200
    assert 'envoy_up{target="envoy"} 1\n' in exporter.metrics("envoy_up")
    assert exporter.memory("VmRSS") < memory + MOST_MEMORY
    for client in idle:
        client.close()
    wait_for("it serves again", lambda: get(exporter.url + "/metrics", timeout=2)[0] == 200)
    recovered(exporter, admin, 7)


def test_descriptors_that_run_out(tmp_path, admin, children):
    exporter = Watched(
        tmp_path, admin, "poll: {interval: 50ms, timeout: 400ms}\n",
        limits={resource.RLIMIT_NOFILE: (40, 40)})
    children(exporter)
    recovered(exporter, admin, 1)
    held = [socket.create_connection(("127.0.0.1", exporter.port), timeout=5) for _ in range(100)]
    log = len(exporter.text())
    # The poll's own connection ends too, so that it needs a descriptor.
    time.sleep(0.3)
    admin.drop_connections()
    requests = len(admin.requests)
    wait_for("polls go on", lambda: len(admin.requests) > requests + 8)
    time.sleep(1)
    assert exporter.process.poll() is None
    assert exporter.text()[log:].count("cannot accept") <= 2
    for client in held:
        client.close()
    recovered(exporter, admin, 7)


def test_passwords_in_a_flood(tmp_path, admin, children):
    web = tmp_path / "web.yaml"
    # Cost 5: a check takes milliseconds, and so does a flood of them.
    web.write_text(f"basic_auth_users: {{prometheus: '{HASH}'}}\n")
    exporter = Watched(tmp_path, admin, "poll: {interval: 50ms}\n", "--web.config.file", web, healthy=401)
    children(exporter)
    right = {"Authorization": "Basic " + base64.b64encode(b"prometheus:pencil").decode()}
    assert get(exporter.url + "/metrics", headers=right)[0] == 200
    memory, codes = exporter.memory("VmRSS"), []

    def guess(number):
        wrong = {"Authorization": "Basic " + base64.b64encode(b"prometheus:%d" % number).decode()}
        codes.append(get(exporter.url + "/metrics", headers=wrong, timeout=30)[0])

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(150)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        start = time.monotonic()
        assert get(exporter.url + "/metrics", headers=right)[0] == 200
        assert time.monotonic() - start < 5
    for thread in threads:
        thread.join()
    assert len(codes) == 150 and set(codes) <= {401, 503}, codes
    assert exporter.memory("VmRSS") < memory + MOST_MEMORY


def test_a_clock_that_jumps(tmp_path, admin, children):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    admin.behavior = fake_admin.working(1, gauges=b',{"name":"server.uptime","value":100}')
    exporter = Watched(
        tmp_path, admin, "poll: {interval: 50ms, timeout: 400ms, stale_after: 2s}\ncreated_timestamps: true\n",
        env={"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
             "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    children(exporter)
    wait_for("data", lambda: exporter.ready()[0] == 200)
    stamp = 'envoy_exporter_last_poll_timestamp_seconds{target="envoy"}'
    day = 86400
    for offset in (day, -day, 365 * day, 0):
        clock.write_text(f"{offset:+d}\n")
        wait_for("the other time", lambda: abs(exporter.sample(stamp) - time.time() - offset) < 30)
        for _ in range(10):
            # Age is not by that clock.
            assert exporter.sample('envoy_up{target="envoy"}') == 1
            assert exporter.ready()[0] == 200
            assert exporter.sample("envoy_a_count") == 1
            time.sleep(0.02)
        assert not re.search(r"-\d+(\.\d+)? ?(ms|s|h|days?) ago", get(exporter.url + "/")[2])
    # A poll is timed by the other clock, too.
    assert exporter.sample('envoy_exporter_poll_duration_seconds_sum{target="envoy"}') < 60
    assert exporter.polls().keys() == {"success"}


def test_a_process_that_was_stopped(fake, strict):
    recovered(strict, fake, 1)
    strict.process.send_signal(signal.SIGSTOP)
    time.sleep(1.2)
    strict.process.send_signal(signal.SIGCONT)
    wait_for("it is ready", lambda: strict.ready()[0] == 200, timeout=5)
    assert strict.polls()["success"] > 0


def test_a_disk_that_is_full(tmp_path):
    idle = f"file://{CAPTURES}/1.40.0/idle"
    # Files may have 16 KiB: counters.json does not fit.
    done = run("capture", tmp_path / "out", "--envoy.admin-address", idle, limits={resource.RLIMIT_FSIZE: (16384, 16384)})
    assert done.returncode == 1
    assert "counters" in done.stderr and "too large" in done.stderr, done.stderr
    assert list((tmp_path / "out").iterdir()) == []
    with open("/dev/full", "w") as full:
        done = run("once", "--envoy.admin-address", idle, stdout=full)
    assert done.returncode == 1 and "No space left" in done.stderr, done.stderr


def test_an_end_in_a_poll_and_in_a_scrape(tmp_path, admin, children):
    admin.behavior = fake_admin.says(stay=True)
    exporter = Watched(tmp_path, admin, "poll: {interval: 50ms, timeout: 30s}\n")
    children(exporter)
    wait_for("a poll", lambda: admin.requests)
    start = time.monotonic()
    assert exporter.stop() == 0
    assert time.monotonic() - start < 5

    admin.behavior = fake_admin.late(0.3)
    exporter = Watched(tmp_path, admin, "poll: {interval: 0s, timeout: 30s}\n")
    children(exporter)
    texts = []
    scrape = threading.Thread(target=lambda: texts.append(get(exporter.url + "/metrics")))
    requests = len(admin.requests)
    scrape.start()
    wait_for("a poll", lambda: len(admin.requests) > requests)
    assert exporter.stop() == 0
    scrape.join()
    # It waited for its poll and was answered whole.
    assert texts[0][0] == 200 and 'envoy_up{target="envoy"} 1\n' in texts[0][2]


def test_a_reload_in_a_poll_and_in_a_scrape(tmp_path, admin, children):
    config = "poll: {interval: %s, timeout: 30s}\ntargets: [{admin_address: '%s', labels: {zone: %s}}]\n"
    exporter = Watched(tmp_path, admin, config % ("50ms", admin.address, "a"), "--web.enable-lifecycle", is_in_file=True)
    children(exporter)
    wait_for("data", lambda: exporter.sample('envoy_a_count{zone="a"}') == 1)
    # A poll that is not answered does not hold a reload up, and the new one waits for no old answer.
    admin.behavior = fake_admin.says(stay=True)
    requests = len(admin.requests)
    wait_for("a poll", lambda: len(admin.requests) > requests)
    exporter.file.write_text(config % ("0s", admin.address, "b"))
    admin.behavior = fake_admin.late_and_working(0.2, 7)
    start = time.monotonic()
    assert get(exporter.url + "/-/reload", method="POST", timeout=20)[0] == 200
    assert time.monotonic() - start < 15
    wait_for("the new one", lambda: exporter.sample('envoy_a_count{zone="b"}') == 7)
    # Scrapes that wait for a poll are answered whole, by the one or the other.
    texts = []
    scrapes = [threading.Thread(target=lambda: texts.append(exporter.metrics())) for _ in range(8)]
    requests = len(admin.requests)
    for scrape in scrapes:
        scrape.start()
    wait_for("a poll", lambda: len(admin.requests) > requests)
    exporter.file.write_text(config % ("0s", admin.address, "c"))
    exporter.process.send_signal(signal.SIGHUP)
    for scrape in scrapes:
        scrape.join()
    wait_for("the newest one", lambda: exporter.sample('envoy_a_count{zone="c"}') == 7)
    assert len(texts) == 8
    for text in texts:
        assert re.findall(r'^envoy_a_count\{zone="[bc]"\} 7$', text, re.M), text
        assert len(set(re.findall(r'zone="(\w)"', text))) == 1, text
    assert "panicked" not in exporter.text()


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
    admin = fake_admin.FakeAdmin(fake_admin.late())
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
    assert paths <= {"/stats", "/clusters", "/server_info", "/certs"}, paths
    # Bounds are asked for when a histogram is new, not with every poll.
    assert len([path for _, path in asked if "cumulative" in path]) == 1
    admin.stop()


def test_the_page_says_what_is_tested():
    assert faults.PAGE.read_text() == faults.page()
    missing = [name for *_, name in faults.OTHERS if not callable(globals().get(name))]
    assert not missing
