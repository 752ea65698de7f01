"""A strict reader of the text format, written from its specification alone.

It shares nothing with the program under test, and refuses what Prometheus would take but no
exporter should write: a family in two places, a second TYPE or HELP, a sample that does not belong
to its family, a series twice, buckets that go down, a histogram without its +Inf.
"""

import math
import re
from dataclasses import dataclass, field

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Malformed(Exception):
    """What is wrong, and on which line."""


@dataclass
class Family:
    name: str
    type: str | None = None
    help: str | None = None
    samples: list = field(default_factory=list)


def read(text: str, strict: bool = True) -> tuple[dict[str, Family], dict]:
    """The families, and the values by series: (name, frozenset of labels) -> list of texts.

    Not strict is for Envoy's own output, which has series twice and types twice.
    """
    if text and not text.endswith("\n"):
        raise Malformed("the last line does not end")
    families: dict[str, Family] = {}
    series: dict[tuple, list[str]] = {}
    current: Family | None = None
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            if line.startswith("#"):
                current = _comment(line, families, current, strict)
            elif line:
                current = _sample(line, families, series, current, strict)
            elif strict:
                raise Malformed("an empty line")
        except Malformed as error:
            raise Malformed(f"line {number}: {error}: {line[:200]!r}") from None
    if strict:
        for family in families.values():
            _check(family)
    return families, series


def _comment(line, families, current, strict):
    match = re.fullmatch(r"# (HELP|TYPE) (\S+) (.*)", line)
    if not match:
        raise Malformed("a comment that is neither HELP nor TYPE")
    kind, name, rest = match.groups()
    if not NAME.fullmatch(name):
        raise Malformed("a bad family name")
    if current is None or current.name != name:
        if name in families:
            if strict:
                raise Malformed("a family in two places")
            return families[name]
        current = families[name] = Family(name)
    if strict and current.samples:
        raise Malformed(f"{kind} after samples")
    if kind == "HELP":
        if current.help is not None:
            raise Malformed("a second HELP")
        current.help = _unescaped(rest, {"\\": "\\", "n": "\n"})
    else:
        if rest not in TYPES:
            raise Malformed("no such type")
        if strict and current.type is not None:
            raise Malformed("a second TYPE")
        current.type = current.type or rest
    return current


def _sample(line, families, series, current, strict):
    match = NAME.match(line)
    if not match:
        raise Malformed("no name")
    name = match.group()
    labels, end = [], match.end()
    if line[end:end + 1] == "{":
        labels, end = _labels(line, end + 1, strict)
    value = line[end:]
    if not value.startswith(" "):
        raise Malformed("no space before the value")
    value = value[1:]
    _number(value)
    family = current
    if family is None or not _belongs(name, family):
        if strict:
            raise Malformed("a sample without its TYPE in front")
        family = families.setdefault(name, Family(name))
    if strict:
        names = [label for label, _ in labels]
        if names != sorted(set(names)) and [n for n in names if n not in ("le", "quantile")] != sorted(set(names) - {"le", "quantile"}):
            raise Malformed("labels out of order, or twice")
    key = (name, canonical(labels))
    if strict and key in series:
        raise Malformed("a series twice")
    series.setdefault(key, []).append(value)
    family.samples.append((name, labels, value))
    return family


def canonical(labels):
    """Labels without order; le as the number that it is."""
    out = []
    for label, value in labels:
        if label == "le":
            try:
                value = float(value)
            except ValueError:
                pass
        out.append((label, value))
    return frozenset(out)


def _labels(line, at, strict):
    labels = []
    while line[at:at + 1] != "}":
        match = re.compile(r'([^=,{}" ]+)="').match(line, at)
        if not match or (strict and not LABEL.fullmatch(match.group(1))):
            raise Malformed("a bad label name")
        label, at, value = match.group(1), match.end(), []
        while True:
            character = line[at:at + 1]
            if character == "":
                raise Malformed("a label value without end")
            if character == '"':
                break
            if character == "\\":
                escaped = line[at + 1:at + 2]
                if escaped not in ("\\", "n", '"'):
                    raise Malformed("a bad escape")
                value.append({"n": "\n"}.get(escaped, escaped))
                at += 2
            else:
                value.append(character)
                at += 1
        labels.append((label, "".join(value)))
        at += 1
        if line[at:at + 1] == ",":
            at += 1
        elif line[at:at + 1] != "}":
            raise Malformed("no comma between labels")
    return labels, at + 1


def _unescaped(text, escapes):
    out, rest = [], iter(text)
    for character in rest:
        if character == "\\":
            escaped = next(rest, "")
            if escaped not in escapes:
                raise Malformed("a bad escape in HELP")
            out.append(escapes[escaped])
        else:
            out.append(character)
    return "".join(out)


def _number(text):
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?([eE][+-]?\d+)?|Inf)|NaN", text):
        raise Malformed("a bad value")
    return float(text)


def _belongs(name, family):
    return name in {family.name + suffix for suffix in SUFFIXES.get(family.type, ("",))}


def _check(family):
    if family.type is None or not family.help:
        raise Malformed(f"{family.name}: no TYPE or no HELP")
    if family.type != "histogram":
        return
    groups = {}
    for name, labels, value in family.samples:
        rest = frozenset(pair for pair in labels if pair[0] != "le")
        group = groups.setdefault(rest, {"buckets": []})
        if name.endswith("_bucket"):
            group["buckets"].append((float(dict(labels)["le"]), int(value)))
        else:
            group[name[len(family.name):]] = value
    for labels, group in groups.items():
        bounds = [bound for bound, _ in group["buckets"]]
        counts = [count for _, count in group["buckets"]]
        sound = (
            bounds == sorted(set(bounds))
            and counts == sorted(counts)
            and bounds
            and math.isinf(bounds[-1])
            and counts[-1] == int(group["_count"])
            and "_sum" in group
        )
        if not sound:
            raise Malformed(f"{family.name}{sorted(labels)}: not a histogram")
