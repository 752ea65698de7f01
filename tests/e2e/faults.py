"""The faults that the tests make, as tables. `docs/faults.md` is these tables and what is said around them:

    .venv/bin/python tests/e2e/faults.py

writes it, and a test holds that it is what this writes.
"""

import fake_admin as admin
from servers import ROOT

PAGE = ROOT / "docs/faults.md"

GOOD = '{"stats":[{"name":"server.live","value":1}]}'
OK = b"HTTP/1.1 200 OK\r\n"
DEEP = "[" * 200_000


def value(text):
    return admin.stats('{"name":"a","value":%s}' % text)


# What the admin interface does, the outcome of the poll, and what the log says of it (a regex).
ANSWERS = [
    # Connections and heads.
    ("refuses connections", None, "connect", "refused"),
    ("closes each connection without an answer", admin.says(), "read", "closed before"),
    ("says nothing", admin.says(stay=True), "timeout", "not answered within"),
    ("stalls in the status line", admin.says(b"HTTP/1.1 2", stay=True), "timeout", "not answered within"),
    ("stalls in the head", admin.says(OK + b"Content-Le", stay=True), "timeout", "not answered within"),
    ("stalls behind the head", admin.says(admin.CHUNKED, stay=True), "timeout", "not answered within"),
    ("stalls in the body", admin.says(admin.CHUNKED, b'5\r\n{"sta\r\n', stay=True), "timeout", "not answered within"),
    ("sends the head byte by byte", admin.slowly(admin.answer(GOOD.encode()), 0.05), "timeout", "not answered within"),
    ("sends the body byte by byte",
     lambda c, _: (c.sendall(admin.answer(b"", length=40)), admin.slowly(GOOD.encode(), 0.05)(c, _))[1],
     "timeout", "not answered within"),
    ("sends headers without end", admin.again(OK, b"x: y\r\n"), "read", "too large"),
    ("sends `100 Continue` without end", admin.again(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 50_000), "timeout", "not answered within"),
    ("speaks SSH", admin.says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "read", "invalid HTTP"),
    ("speaks TLS", admin.says(b"\x15\x03\x01\x00\x02\x02\x46"), "read", "invalid HTTP"),
    ("answers as HTTP/0.9", admin.says(GOOD.encode()), "read", "invalid HTTP"),
    ("answers as HTTP/2", admin.says(b"\0\0\x12\x04\0\0\0\0\0" + b"\0" * 18), "read", "invalid HTTP"),
    ("has two lengths that differ", admin.says(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}    "), "read",
     "content-length"),
    ("has a length of -1", admin.says(OK + b"Content-Length: -1\r\n\r\n{}"), "read", "content-length"),
    ("has a length of 2^64", admin.says(OK + b"Content-Length: 18446744073709551616\r\n\r\n{}"), "read", "content-length"),
    ("has a chunk whose size is no number", admin.says(admin.CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), "read", "chunk"),
    ("has a chunk of 2^68 bytes", admin.says(admin.CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), "read", "chunk"),
    ("has a chunk extension without end", admin.again(admin.CHUNKED + b"1;", b"x" * 1000), "read", "chunk"),
    ("has trailers without end", admin.again(admin.CHUNKED + b"0\r\n", b"x: y\r\n"), "read|decode", "trailer|EOF"),
    ("ends early, at each sixteenth of the body", admin.cut_at_each_sixteenth(True), "read", "end of file|closed"),
    # Statuses.
    ("404", admin.says(admin.answer(b"no", "404 Not Found")), "status", "status 404"),
    ("500", admin.says(admin.answer(b"no", "500 Internal Server Error")), "status", "status 500"),
    ("503 while it starts", admin.says(admin.answer(b"PRE_INITIALIZING", "503 Service Unavailable")), "status",
     "status 503.*PRE_INITIALIZING"),
    ("503 with a body without end", admin.again(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", admin.chunk(b"no" * 500)),
     "status", "status 503"),
    ("204", admin.says(b"HTTP/1.1 204 No Content\r\n\r\n"), "status", "status 204"),
    ("206 with a part", admin.says(admin.answer(b'{"stats":[]}', "206 Partial Content")), "status", "status 206"),
    ("101 to another protocol", admin.says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "status",
     "status 101"),
    ("redirects to another host, which gets no connection", "redirect", "status", "redirect to http"),
    # Bodies.
    ("no body", admin.body(""), "decode", r"counters.*byte 0\b"),
    ("spaces only", admin.body(" " * 1000), "decode", "counters"),
    ("HTML", admin.body("<html>hello</html>"), "decode", r"counters.*byte 0\b"),
    ("HTML without end", admin.again(admin.CHUNKED, admin.chunk(b"<p>" * 300)), "decode", r"counters.*byte 0\b"),
    ("`null`", admin.body("null"), "decode", "invalid type: null"),
    ("a list", admin.body("[1,2]"), "decode", "invalid type: sequence"),
    ("an object without `stats`", admin.body('{"configs":[]}'), "decode", "missing field `stats`"),
    ("`stats` twice", admin.body('{"stats":[],"stats":[]}'), "decode", "duplicate field|trailing|expected"),
    ("`stats` that is an object", admin.body('{"stats":{"a":1}}'), "decode", "invalid type: map"),
    ("JSON that ends early, at each sixteenth", admin.cut_at_each_sixteenth(False), "decode", r"byte \d+"),
    ("a byte order mark", admin.body(b"\xef\xbb\xbf" + GOOD.encode()), "decode", r"byte 0\b"),
    ("text behind the end", admin.body(GOOD + "x"), "decode", "trailing characters"),
    ("two stats without a comma", admin.stats('{"name":"a","value":1}{"name":"b","value":1}'), "decode", "expected `,`"),
    ("a comma before the end", admin.stats('{"name":"a","value":1},'), "decode", "trailing comma|expected value"),
    ("a stat without a name", admin.stats('{"value":1}'), "decode", "missing field `name`"),
    ("a stat without a value", admin.stats('{"name":"a"}'), "decode", "missing field `value`"),
    ("a stat with two values", admin.stats('{"name":"a","value":1,"value":2}'), "decode", "duplicate field"),
    ("a name that is a number", admin.stats('{"name":5,"value":1}'), "decode", "invalid type"),
    ("a name that is no UTF-8", admin.stats(b'{"name":"a\xff","value":1}'), "decode", "unicode"),
    ("a name with half a surrogate pair", admin.stats('{"name":"a\\ud800","value":1}'), "decode", "escape|surrogate"),
    ("a name with a line feed in it, not escaped", admin.stats('{"name":"a\nb","value":1}'), "decode", "control character"),
    ("a value of -1", value("-1"), "decode", "integer `-1`"),
    ("a value of 1.5", value("1.5"), "decode", "floating point `1.5`"),
    ("a value of 1e3", value("1e3"), "decode", "floating point"),
    ("a value of 2^64", value("18446744073709551616"), "decode", "floating point|number"),
    ("a value of NaN", value("NaN"), "decode", "expected value"),
    ("a value of Infinity", value("Infinity"), "decode", "expected value"),
    ("a value of `null`", value("null"), "decode", "invalid type: null"),
    ("a value of `true`", value("true"), "decode", "boolean"),
    ("a value in 200,000 brackets", value(DEEP + "]" * len(DEEP)), "decode", "invalid type: sequence|recursion"),
    ("brackets without end", admin.again(admin.CHUNKED + admin.chunk(b'{"stats":[{"name":"a","value":'), admin.chunk(b"[" * 1000)),
     "too_large|decode|timeout", "larger than|32 MiB|not answered"),
    ("a body without end", admin.again(admin.CHUNKED + admin.chunk(b'{"stats":['), admin.chunk(b'{"name":"a","value":1},' * 40)),
     "too_large", "larger than the limit of 1048576"),
    ("a length above the limit", admin.says(admin.answer(b'{"stats":[', length=5_000_000), stay=True), "too_large|timeout",
     "larger than|not answered"),
    ("gzip that becomes 200 MB, though not asked for it", admin.bomb(), "decode", r"counters.*byte 0\b"),
]

HISTOGRAM = '{"histograms":{"supported_percentiles":[50],"details":[%s]}}'
BIN = '{"lower_bound":%d,"width":1,"count":1}'


def histogram(name, bins):
    return HISTOGRAM % '{"name":"%s","totals":[%s],"percentiles":[{"cumulative":1}]}' % (name, ",".join(bins))


def many_bounds(count):
    bounds = ",".join(f'{{"upper_bound":{n},"interval":0,"cumulative":0}}' for n in range(1, count + 1))
    return b'{"histograms":[{"name":"a.time","buckets":[%s]}]}' % bounds.encode()


def numbers(count):
    return ",".join(f'{{"name":"many.n{n}","value":1}}' for n in range(count)).encode()


def forging(connection, head):
    """A second answer with each, for the request that was not made yet."""
    name = {"Counters": b"a.count", "Gauges": b"a.level"}.get(admin.query(head))
    stat = b'{"name":"%s","value":5}' % name if name else b""
    connection.sendall(
        admin.answer(b'{"stats":[%s]}' % stat) + admin.answer(b'{"stats":[{"name":"forged","value":1}]}'))


# What is odd about an answer that is taken, and what is not exported of it: stats by reason.
# The rest of the answer is: a.count and a.level are there with their numbers.
ODDITIES = [
    ("each byte of the body is a chunk of its own", admin.in_pieces_of_a_byte(admin.working(5)), {}),
    ("the connection ends behind each answer, though nothing said so", admin.closing(admin.working(5)), {}),
    ("a name comes twice", admin.working(5, counters=b',{"name":"a.count","value":6}'), {"conflict": 1}),
    ("a name comes as two types", admin.working(5, gauges=b',{"name":"a.count","value":6}'), {"conflict": 1}),
    ("a name is empty", admin.working(5, counters=b',{"name":"","value":6}'), {}),
    ("a name of 20,000 bytes", admin.working(5, counters=b',{"name":"%s","value":6}' % (b"n" * 20_000)), {"limit": 1}),
    ("a text of 20,000 bytes", admin.working(5, texts=b'{"name":"a.text","value":"%s"}' % (b"t" * 20_000)), {"limit": 1}),
    ("a text of 3,000 bytes", admin.working(5, texts=b'{"name":"a.text","value":"%s"}' % (b"t" * 3_000)), {"limit": 1}),
    ("more stats than the limit, here 1,000", admin.working(5, gauges=b"," + numbers(2_000)), {"limit": 1_002}),
    ("a histogram of 5,000 bins",
     admin.working(5, histograms=histogram("a.time", [BIN % n for n in range(5_000)]).encode(), bounds=many_bounds(3)), {"limit": 1}),
    ("a histogram with 2,000 bounds",
     admin.working(5, histograms=histogram("a.time", [BIN % 10]).encode(), bounds=many_bounds(2_000)), {"limit": 1}),
    ("a bin as no Envoy makes them",
     admin.working(5, histograms=histogram("a.time", ['{"lower_bound":1e300,"width":1e-300,"count":18446744073709551615}'] * 2).encode(),
                   bounds=many_bounds(3)), {}),
    ("an unknown field with 200,000 brackets",
     admin.working(5, counters=b',{"name":"b","more":%s,"value":1}' % (DEEP + "]" * len(DEEP)).encode()), {}),
    ("another answer behind each answer", forging, {}),
]

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
SECOND = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"


def get(path):
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(headers, body):
    return b"POST /metrics HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body


# What a client sends, and the statuses of the answers until the connection ends. Where a request is
# open to two readings the second must not come to be answered: SECOND would be, with 200.
REQUESTS = [
    ("two lengths that differ", post(b"Content-Length: 0\r\nContent-Length: 41\r\n", SECOND), [400]),
    ("two lengths in one header", post(b"Content-Length: 0, 41\r\n", SECOND), [400]),
    ("a length with a sign", post(b"Content-Length: +0\r\n", SECOND), [400]),
    ("a length of 2^64", post(b"Content-Length: 18446744073709551616\r\n", SECOND), [400]),
    ("a length and chunks", post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SECOND), [405]),
    ("chunks under a name with a space behind it", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + SECOND), [400]),
    ("a length under a name with a space behind it", post(b"Content-Length : 41\r\n", SECOND), [400]),
    ("a folded header", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + SECOND), [400]),
    ("chunks that are not the last coding", post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n" + SECOND), [400]),
    ("a coding that nobody knows", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + SECOND), [400]),
    ("chunks in HTTP/1.0", b"POST /metrics HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND, [400]),
    ("a chunk whose size is no number", post(b"Transfer-Encoding: chunked\r\n", b"0x0\r\n\r\n" + SECOND), [405]),
    ("a chunk of 2^68 bytes", post(b"Transfer-Encoding: chunked\r\n", b"f" * 17 + b"\r\n\r\n" + SECOND), [405]),
    ("a chunk longer than its size", post(b"Transfer-Encoding: chunked\r\n", b"1\r\nxx\r\n0\r\n\r\n" + SECOND), [405]),
    ("a body behind GET", GET + b"Content-Length: 41\r\n\r\n" + SECOND, [200]),
    ("a line feed alone in the head", b"GET /metrics HTTP/1.1\nHost: x\nConnection: close\n\n", [200]),
    ("a carriage return alone in a value", GET + b"X: a\rTransfer-Encoding: chunked\r\n\r\n", [400]),
    ("a zero byte in a value", GET + b"X: a\0b\r\n\r\n", [400]),
    ("a header without a name", GET + b": x\r\n\r\n", [400]),
    ("a header without a colon", GET + b"x\r\n\r\n", [400]),
    ("a header of 1 MB", GET + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n", [431]),
    ("1,000 headers", GET + b"X: y\r\n" * 1000 + b"\r\n", [431]),
    ("a path of 100,000 bytes", get(b"/" + b"x" * 100_000), [414]),
    ("no version", b"GET /metrics\r\n\r\n", [400]),
    ("version 3.7", b"GET /metrics HTTP/3.7\r\n\r\n", [400]),
    ("HTTP/2 without being asked", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", []),
    ("an upgrade to HTTP/2", GET + b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", [200]),
    ("the hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, [400]),
    ("bytes from 128 up", bytes(range(128, 256)), [400]),
    ("zeros", b"\0" * 1000, [400]),
    ("`/metrics/../-/quit`", get(b"/metrics/../-/quit"), [404]),
    ("`//metrics`", get(b"//metrics"), [404]),
    ("`/%6detrics`", get(b"/%6detrics"), [404]),
    ("`/metrics%00`", get(b"/metrics%00"), [404]),
    ("`/metrics;x`", get(b"/metrics;x"), [404]),
    ("`/metrics#x`", get(b"/metrics#x"), [200]),
    ("`\\\\metrics`", get(b"\\metrics"), [400]),
    ("`/../../etc/passwd`", get(b"/../../etc/passwd"), [404]),
    ("the address of another host", get(b"http://169.254.169.254/latest/meta-data"), [404]),
    ("`CONNECT other:80`", b"CONNECT other:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [404]),
    ("`name[]` 10,000 times", get(b"/metrics?" + b"&name[]=envoy_up" * 3000), [200]),
    ("`TRACE`", b"TRACE /metrics HTTP/1.1\r\nHost: x\r\nCookie: secret\r\nConnection: close\r\n\r\n", [405]),
    ("a reload, and a stop", b"POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\nPOST /-/quit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [403, 403]),
]

# The other faults: what happens, what is to become of it, and the test.
OTHERS = [
    ("an admin interface that answers some requests well and others with 503",
     "each poll is whole or nothing: never numbers of two", "test_an_admin_interface_that_flaps"),
    ("other stats with every poll", "what is gone is forgotten: memory stays", "test_other_stats_with_every_poll_take_no_more_memory"),
    ("a name of 100 MB", "`decode` after 32 MiB; at most 160 MB of memory in all", "test_a_name_of_100_megabytes"),
    ("1,000 connections, of which a third never ends its request and a third asks and never reads",
     "polls go on, and so do scrapes of others", "test_a_thousand_connections_and_a_reader_that_never_reads"),
    ("100 connections where the process may have 40 descriptors",
     "polls go on, with connections of their own; the log says it once", "test_descriptors_that_run_out"),
    ("150 wrong passwords at the same time", "401, or 503; scrapes with the right one go on", "test_passwords_in_a_flood"),
    ("the wall clock jumps: a day on, a day back, a year on, and back",
     "data is as fresh as before, and times of polls are right", "test_a_clock_that_jumps"),
    ("the process is stopped for longer than data is served, and continued", "it is ready by itself", "test_a_process_that_was_stopped"),
    ("no space for a capture, or behind standard output", "exit code 1 and the cause; no file is left half there", "test_a_disk_that_is_full"),
    ("SIGTERM in a poll that is not answered, and in a scrape that waits for one",
     "exit code 0 at once; the scrape is answered whole", "test_an_end_in_a_poll_and_in_a_scrape"),
    ("a reload in a poll that is not answered, and in scrapes that wait for one",
     "the reload waits for neither; each scrape is whole, of one configuration", "test_a_reload_in_a_poll_and_in_a_scrape"),
    ("ports, sockets and folders that are not there", "exit code 1 of `once`, and the cause", "test_targets_that_are_not_there"),
    ("the port of a real proxy's traffic in place of its admin interface", "`status`: 404", "test_a_server_that_is_no_envoy"),
    ("20 scrapes at the same time where polls are made on demand", "they share one poll", "test_concurrent_scrapes_share_a_poll"),
]

RUN = "Last run before this page: 2026-11-30, 2 cores, debug build, 80 s"

TEXT = """\
# Faults

Every line here is a test: the program, as it is built, meets the fault, and must do what the line says. The tables are
made from the tests' own (`tests/e2e/faults.py`).

{run}: {count} faults, and each ended as it stands here.

## Answers that are none

The admin interface does as the first column says. The poll ends with the outcome in
`envoy_exporter_polls_total`, and the log has the cause.

- `envoy_up` is 0. Data of the last good poll is served until it is stale (`poll.stale_after`), and `/-/ready` is 200 for as
  long. From then on it is not served; `/-/ready` is 503 and says the cause.
- Memory at its peak is within 48 MB of what it was before.
- The first good answer after the fault is taken, by itself: `envoy_up` is 1 and `/-/ready` is 200.

| the admin interface | outcome |
|---|---|
{answers}

## Answers that are odd

The poll succeeds, its other numbers are right, and what is not exported is counted in
`envoy_exporter_dropped_series`.

| the answer | dropped |
|---|---|
{oddities}

## Requests that mean harm

What a client sends, and the statuses of all answers until the connection ends. Behind each request that is open to two
readings stands another one, which must not be answered. The process serves others before and after.

| the request | answers |
|---|---|
{requests}

## Everything else

| the fault | what becomes of it |
|---|---|
{others}
"""


def row(*cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def page():
    def outcomes(written):
        return " or ".join(f"`{outcome}`" for outcome in written.split("|"))

    def dropped(counts):
        return ", ".join(f"{count:,}: `{reason}`" for reason, count in counts.items()) or "nothing"

    tables = [ANSWERS, ODDITIES, REQUESTS, OTHERS]
    return TEXT.format(
        run=RUN, count=sum(map(len, tables)),
        answers="\n".join(row(what, outcomes(outcome)) for what, _, outcome, _ in ANSWERS),
        oddities="\n".join(row(what, dropped(counts)) for what, _, counts in ODDITIES),
        requests="\n".join(row(what, ", ".join(map(str, codes)) or "none") for what, _, codes in REQUESTS),
        others="\n".join(row(what, becomes) for what, becomes, _ in OTHERS),
    )


if __name__ == "__main__":
    PAGE.write_text(page())
