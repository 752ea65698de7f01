"""Writes docs/reference.md: every described stat, from mappings/*.yaml, with its name in both profiles.

    python3 docs/reference.py            writes it
    python3 docs/reference.py --check    says whether it is in step

Names are not derived here: `envoy-exporter explain` is asked for all of them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/reference.md"
TYPES = ("counter", "gauge", "histogram", "text_readout")
HEAD = """# Reference of stats

Every stat that the shipped tables describe, by the file of [`mappings/`](../mappings) that does. This page is
generated: `make reference`.

- *Stat* is the base name: a stat's name without the tags that are taken out of it. `{{x}}` stands for a part that
  differs; it stays in the name in `native` and is a label in `standard`.
- In `native` the family is `envoy_` and the base name with every `.` as `_`.
- *standard* is the name with `--mapping standard`; a time is in seconds there whatever the unit says. It is left out
  where it takes a real name to tell.
- The unit is that of Envoy's own numbers.
- `envoy-exporter explain STAT` shows labels, and what a table of yours makes of it.

{count} stats: {counter} counters, {gauge} gauges, {histogram} histograms, {text_readout} texts.
"""


def program():
    return os.environ.get("ENVOY_EXPORTER_BINARY", ROOT / "target/debug/envoy-exporter")


def stats(path):
    """(base name, type, unit, help) of one file, in its order."""
    for section in yaml.safe_load(path.read_text()).get("catalogue", []):
        scopes = section.get("scope", "")
        for scope in scopes if isinstance(scopes, list) else [scopes]:
            for name, what in section["stats"].items():
                (kind,) = what.keys() & set(TYPES)
                yield scope + name, kind, what.get("unit", ""), what[kind]


def standard_names(stats):
    """The family of each base name in `standard`: None where it is dropped, absent where a real name is needed.

    A base name has no tags any more, and `explain` would look for some in it. So names are put where they may have
    been, until the entry that `explain` finds is the one that is meant.
    """
    found = {}
    for places in ([], [1], [2], [1, 3], [0]):
        asked = {}
        for name in stats:
            if name not in found:
                # A placeholder stands for a token; one that may hold several is given one.
                tokens = re.sub(r"\{(\w+)\*?\}", r"\1", name).split(".")
                for place in places:
                    tokens.insert(place, "name")
                asked[name] = ".".join(tokens)
        done = subprocess.run(
            [program(), "explain", "--mapping", "standard", *asked.values()], capture_output=True, text=True, timeout=120)
        blocks = re.split(r"\n(?=\S)", done.stdout)
        assert len(blocks) == len(asked), done.stderr[-2000:]
        for name, block in zip(asked, blocks):
            entry, series = (re.search(rf"^  {key} +(.*)$", block, re.M).group(1) for key in ("entry", "series"))
            if entry == name:
                found[name] = None if series.startswith("none") else re.match(r"[a-zA-Z_:][\w:]*", series).group()
    return found


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def page():
    files = [(path, list(stats(path))) for path in sorted((ROOT / "mappings").glob("*.yaml"))]
    files = [(path, rows) for path, rows in files if rows]
    everything = [row for _, rows in files for row in rows]
    names = standard_names([row[0] for row in everything])
    counts = {kind: sum(row[1] == kind for row in everything) for kind in TYPES}
    lines = [HEAD.format(count=len(everything), **counts)]
    for path, rows in files:
        comment = path.read_text().splitlines()[0].removeprefix("# ").rstrip(".")
        lines += [f"## {path.stem}\n", f"{comment}.\n", "| stat | type | unit | standard | meaning |", "|---|---|---|---|---|"]
        for name, kind, unit, meaning in rows:
            family = f"`{names[name]}`" if names.get(name) else "dropped" if name in names else ""
            lines.append(f"| `{name}` | {kind.replace('_readout', '')} | {unit} | {family} | {cell(meaning)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main():
    text = page()
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() != text:
            sys.exit("docs/reference.md is not what docs/reference.py makes of mappings/: make reference")
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
