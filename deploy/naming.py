"""Writes a query in the names of a profile. The dashboards and the rules are made of such queries.

`<cluster.upstream_rq_total>` becomes the family with the selectors of its scope, with matchers of its own
after a space: `<cluster.upstream_rq_xx class="5">`. `<cluster.upstream_rq_time:bucket>` is the series of a
histogram. `<cluster>` is a label, `<envoy_up>` one of the exporter's own metrics, which has the same name in
every profile. What stats.yaml does not list is an error, so a misspelt name cannot reach a dashboard.
"""

import functools
import re
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
PROFILES = ("native", "standard")
TOKEN = re.compile(r"<([a-z][\w.]*)(?::(bucket|sum|count))?(?: ([^<>]*))?>")
# Own metrics that are about the process and not about a target.
OF_PROCESS = re.compile(r"process_|envoy_exporter_(http|build_info|config)")
OWN = re.compile(r"envoy_up|envoy_exporter_\w+|process_\w+|up")


@functools.cache
def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


@functools.cache
def families():
    """For each stat its kind, and its family in each profile."""
    table = load(HERE / "stats.yaml")
    result = {}
    for kind in ("counters", "gauges", "times"):
        for entry in table[kind]:
            stat, standard = next(iter(entry.items())) if isinstance(entry, dict) else (entry, None)
            native = "envoy_" + stat.replace(".", "_")
            if standard is None:
                standard = native
                if kind == "counters" and not native.endswith("_total"):
                    standard += "_total"
                if kind == "times":
                    standard = native.removesuffix("_ms") + "_seconds"
            assert stat not in result, f"stats.yaml lists {stat} twice"
            result[stat] = (kind, {"native": native, "standard": standard})
    return result


class Names:
    """The names of one profile; `selectors` gives the matchers of a scope, without braces."""

    def __init__(self, profile, selectors, window=None):
        table = load(HERE / "stats.yaml")
        column = PROFILES.index(profile)
        self.profile = profile
        self.labels = {name: both[column] for name, both in table["labels"].items()}
        self.families = {stat: (kind, both[profile]) for stat, (kind, both) in families().items()}
        self.expressions = {name: both[profile] for name, both in table["expressions"].items()}
        self.selectors = selectors
        self.window = window
        self.used = set()

    def write(self, query):
        """The query in the names of the profile."""
        text = TOKEN.sub(self._token, query)
        if self.window:
            text = text.replace("[w]", f"[{self.window}]")
        assert "[w]" not in text and not re.search(r"<[a-z]", text), query
        return " ".join(text.split()).replace("{,", "{").replace(",}", "}").replace("{}", "")

    def _token(self, match):
        name, part, matchers = match.groups()
        if name == "selectors":
            return self.selectors(matchers, self)
        if name == "to_seconds":
            return " / 1000" if self.profile == "native" else ""
        if name in self.labels and not part and not matchers:
            return self.labels[name]
        if name in self.expressions:
            return "(" + self.write(self.expressions[name].replace("[w]", f"[{self.window}]")) + ")"
        if OWN.fullmatch(name):
            scope = "process" if OF_PROCESS.match(name) else "exporter"
            return self._series(name, part, scope, matchers)
        assert name in self.families, f"stats.yaml has no {name}"
        kind, family = self.families[name]
        assert bool(part) == (kind == "times"), f"{match[0]}: the parts of a histogram, and of nothing else"
        self.used.add(name)
        return self._series(family, part, name.split(".")[0], matchers)

    def _series(self, family, part, scope, matchers):
        # Own metrics have the same labels in every profile.
        labels = {} if scope in ("process", "exporter") else self.labels
        own = re.sub(r"(\w+)(=~|!~|!=|=)", lambda m: labels.get(m[1], m[1]) + m[2], matchers or "")
        both = ",".join(filter(None, [self.selectors(scope, self), own]))
        return family + (f"_{part}" if part else "") + "{" + both + "}"
