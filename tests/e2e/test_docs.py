"""The pages against the program and each other: flags, links, what is shown of it, and what is generated."""

import re
import subprocess
import sys

import pytest
from servers import ROOT, Exporter, program, run

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")])


def names(paths):
    return [path.relative_to(ROOT).as_posix() for path in paths]


def offered():
    """Each flag of --help with its default (None: none is told) and its environment variable."""
    text = run("--help").stdout
    flags = {}
    for block in re.split(r"\n(?= +(?:-\w, )?--)", text[text.index("Options:"):])[1:]:
        flag = re.search(r"--[\w.-]+", block).group()
        default = re.search(r"\[default: ([^\]]*)\]", block)
        variable = re.search(r"\[env: (\w+)=", block)
        flags[flag] = (default and default.group(1).strip("`"), variable and variable.group(1))
    assert flags.pop("--help") == flags.pop("--version") == (None, None)
    return flags


def documented():
    """Each flag of the table in docs/configuration.md with what stands as its default."""
    rows = re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", (ROOT / "docs/configuration.md").read_text(), re.M)
    return {flag: default for cell, default in rows for flag in re.findall(r"--[\w.-]+", cell)}


def test_every_flag_is_documented_with_its_default():
    told = documented()
    several = [flag.removesuffix("NAME") for flag in told if flag.endswith(".NAME")]
    for flag, (default, variable) in offered().items():
        assert flag in told or any(flag.startswith(prefix) for prefix in several), flag
        if flag.startswith("--no-"):
            # The opposite of a flag, and no setting of its own.
            continue
        assert variable == "ENVOY_EXPORTER_" + re.sub("[.-]", "_", flag[2:].upper()), flag
        if flag in told:
            shown = told[flag].replace("`", "")
            if default in (None, "false"):
                assert shown in ("none", "off"), (flag, shown)
            else:
                assert shown == default.replace("poll ", ""), (flag, shown, default)


def test_every_documented_flag_is_there():
    flags = offered()
    for flag in documented():
        pattern = re.escape(flag).replace("NAME", r"\w+")
        assert any(re.fullmatch(pattern, one) for one in flags), flag


def test_every_flag_and_variable_that_a_page_names_is_there():
    flags = offered()
    variables = {variable for _, variable in flags.values()}
    for page in PAGES:
        text = page.read_text()
        for variable in re.findall(r"\bENVOY_EXPORTER_[A-Z_]*[A-Z]\b", text):
            assert variable in variables or variable in ("ENVOY_EXPORTER_BINARY",), (page, variable)
        for flag in re.findall(r"`(--(?:config|envoy|web|log|push|collector|no-collector)\.[\w.-]+)", text):
            assert flag in flags or flag.endswith(".NAME") or flag in OF_OTHERS, (page, flag)


# Prometheus' own, named where it is what has to be set.
OF_OTHERS = {"--web.external-url", "--web.enable-remote-write-receiver"}


def anchors(text):
    """The anchors of a page's headings, as code hosts make them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    seen = {}
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        yield anchor + (f"-{seen[anchor]}" if anchor in seen else "")
        seen[anchor] = seen.get(anchor, 0) + 1


def test_headings_become_anchors():
    assert list(anchors("# What `/stats` says\n```\n# no\n```\n## A, [b](c)\n## a b\n")) == ["what-stats-says", "a-b", "a-b-1"]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in set(anchors(target.read_text())), link


def test_the_readme_links_every_page():
    linked = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text()))
    assert {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} <= linked
    assert {"deploy/README.md", "deploy/image.md", "deploy/kubernetes/README.md", "deploy/systemd/README.md"} <= linked


def blocks():
    """(page, commands with what is shown under each) of every block that shows the program or curl."""
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.M | re.S):
            commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
            if all(re.match(r"envoy-exporter|curl", command) for command, _ in commands):
                yield page.relative_to(ROOT).as_posix(), commands


def measured(text):
    """Values differ from run to run: they are what ends a line of a sample."""
    return re.sub(r"(?m)^([a-z][^#\n]*) [0-9.e+]+$", r"\1 N", text)


def test_what_the_pages_show_is_what_is_printed(tmp_path, children):
    found = list(blocks())
    assert any(page == "README.md" and len(commands) > 1 for page, commands in found)
    demo = Exporter(tmp_path, command=["demo"])
    children(demo)
    demo.wait_ready_target()
    for page, commands in found:
        for command, shown in commands:
            if command.startswith("envoy-exporter demo"):
                # It is what the others ask.
                assert shown == ""
                continue
            line = command.replace("http://127.0.0.1:9091", demo.url).replace("curl ", "curl --noproxy '*' ")
            line = re.sub(r"^envoy-exporter\b", str(program()), line)
            done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert measured(done.stdout) == measured(shown), (page, command, done.stderr)


def test_the_reference_is_in_step():
    done = subprocess.run([sys.executable, ROOT / "docs/reference.py", "--check"], capture_output=True, text=True, timeout=240,
                          env={"PATH": "/usr/bin:/bin", "ENVOY_EXPORTER_BINARY": str(program())})
    assert done.returncode == 0, done.stderr
