"""The status page in a real browser: what it shows, what is found on it, and how it looks."""

import json
import re
import urllib.parse

import fake_admin
from browser import Page, pixels, screenshot
from servers import Exporter, get, wait_for


def sent(exporter, query):
    """The page without a browser."""
    return Page(None, get(f"{exporter.url}/{query}")[2])


def test_the_page_of_a_real_proxy(newest_envoy, children, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({
        "targets": [{"name": "edge", "admin_address": newest_envoy.admin}],
        "metric_relabel_configs": [
            {"source_labels": ["__name__"], "regex": "envoy_cluster_lb_.*", "action": "drop"}],
        "poll": {"interval": "200ms"},
    }))
    exporter = Exporter(tmp_path, "--config.file", config)
    children(exporter)
    exporter.wait_ready_target()
    newest_envoy.request(0, 200)
    wait_for("the request", lambda: "envoy_cluster_upstream_rq{" in exporter.metrics())

    page = Page(exporter.url + "/")
    assert "script" not in page.elements
    head, edge = page.tables["targets"]
    shown = dict(zip(head, edge))
    assert shown["Target"] == f"edge{newest_envoy.admin}" and shown["State"] == "up"
    assert re.fullmatch(r"\d\.\d s ago", shown["Last poll"]) and re.fullmatch(r"\d+ ms", shown["Took"])
    text = exporter.metrics()
    for column, name in [("Series", "series"), ("Families", "families")]:
        number = re.search(rf'envoy_exporter_{name}{{target="edge"}} (\d+)', text).group(1)
        assert shown[column] == f"{int(number):,}"
    assert re.fullmatch(r"\d+(\.\d)? (s|min) ago", shown["Counts since"])

    # The largest first, as many as the bound says.
    rows = page.tables["families"][1:]
    sizes = [int(row[2].replace(",", "")) for row in rows]
    assert len(rows) == 40 and sizes == sorted(sizes, reverse=True)
    dropped = {row[0]: row for row in page.tables["dropped"][1:]}
    assert set(dropped) == {"relabelby metric_relabel_configs"}
    assert "cluster." in dropped["relabelby metric_relabel_configs"][2]
    program = dict(page.tables["program"])
    assert program["Configuration"].startswith("read ") and program["Configuration"].endswith("in use")

    # Each link leads somewhere; that of a family to its series.
    for link in sorted(set(page.links)):
        status, _, body = get(urllib.parse.urljoin(exporter.url + "/", link))
        assert status == 200, link
        if "name" in link:
            name = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["name[]"][0]
            assert f"# TYPE {name} " in body, link

    # What a reader sends with the form.
    found = Page(exporter.url + "/?q=Upstream+rq_time+")
    assert found.inputs["q"] == "Upstream rq_time"
    rows = found.tables["families"][1:]
    assert len([row for row in rows if "upstream_rq_time" in row[0] and row[1] == "histogram"]) > 0
    assert found.texts["found"] == f"{len(rows)} found."
    assert all("upstream" in row[0].lower() and "rq_time" in row[0].lower() for row in rows)
    every = sent(exporter, "?q=envoy_")
    assert re.fullmatch(r"\d+ found; the largest 300 are shown\.", every.texts["found"]), every.texts["found"]
    assert len(every.tables["families"]) == 301
    assert sent(exporter, "?q=nothing-is-called-so").tables["families"][1:] == []

    for scheme, is_as_asked in [("light", lambda color: min(color) > 200), ("dark", lambda color: max(color) < 60)]:
        picture = pixels(screenshot(exporter.url + "/", tmp_path / f"{scheme}.png", scheme))
        corner = picture[-1][0]
        assert is_as_asked(corner), (scheme, corner)
        assert len({color for row in picture for color in row}) > 20, f"{scheme}: there is something on it"


def test_a_target_that_is_down(tmp_path, children):
    exporter = Exporter(tmp_path, "--envoy.admin-address", "http://127.0.0.1:1", "--envoy.poll-interval", "100ms")
    children(exporter)
    wait_for("a poll", lambda: 'outcome="connect",target="envoy"} 0' not in exporter.metrics("envoy_exporter_polls_total"))
    _, row = sent(exporter, "").tables["targets"]
    assert row[1].startswith("down: ") and "refused" in row[1] and row[2] == "never"


def test_names_of_a_proxy_are_text(tmp_path, children):
    """Names that would be more than text, and far more of them than the page has room for."""
    evil = "<script>document.title='got in'</script>\"'&<b>"
    stats = [{"name": f"odd{number:04}.{evil}", "value": number} for number in range(3000)]
    # Of both types, so that each is in conflict as well.
    admin = fake_admin.FakeAdmin(fake_admin.says(fake_admin.answer(json.dumps({"stats": stats}).encode())))
    exporter = Exporter(tmp_path, "--envoy.admin-address", admin.address, "--envoy.timeout", "10s")
    children(exporter)
    exporter.wait_ready_target()
    search = urllib.parse.urlencode({"q": "odd00 \"'&<b>"})
    assert len(sent(exporter, "?q=odd").html) < 200_000
    for query in ("", "?" + search):
        page = Page(f"{exporter.url}/{query}")
        assert "script" not in page.elements and "b" not in page.elements[page.elements.index("form"):page.elements.index("table", page.elements.index("form"))]
        assert "<title>envoy-exporter</title>" in page.html
        assert len(page.html) < 200_000, len(page.html)
    assert page.inputs["q"] == "odd00 \"'&<b>"
    names = [row[1] for row in page.tables["undescribed"][1:]]
    assert names and all(evil in name for name in names)
    conflict = next(row for row in page.tables["dropped"] if row[0].startswith("conflict"))
    assert evil in conflict[2]
    admin.stop()
