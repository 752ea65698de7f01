#!/usr/bin/env python3
"""Makes the rules, their unit tests and docs/runbook.md from rules.yaml. `--check` only says what is out of step."""

import re
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from generated import HEADER, main  # noqa: E402
from naming import PROFILES, Names, load  # noqa: E402

# A place of your own goes here by sed, as deploy/README.md says.
RUNBOOK = "docs/runbook.md#"


def names_of(profile):
    """Names for rules: nothing is chosen, but Envoy's admin interface is no traffic."""
    def selectors(scope, names):
        return f'{names.labels["hcm"]}!="admin"' if scope == "http" else ""
    return Names(profile, selectors)


def rule(alert, names):
    def text(value):
        return re.sub(r"<(\w+)>", lambda match: names.labels[match[1]], value)
    return {
        "alert": alert["alert"], "expr": names.write(alert["expr"]), "for": alert["for"],
        "labels": {"severity": alert["severity"]},
        "annotations": {
            "summary": text(alert["summary"]), "description": text(alert["description"]),
            "runbook_url": RUNBOOK + alert["alert"].lower()},
    }


def group(name, source, names):
    records = [{"record": record["record"], "expr": names.write(record["expr"])} for record in source.get("records", [])]
    groups = [{"name": f"{name}-records", "rules": records}] if records else []
    groups.append({"name": name, "rules": [rule(alert, names) for alert in source["alerts"]]})
    return {"groups": groups}


def series(table, profile):
    """Input series of a test. `le="250ms"` is what the profile makes of it."""
    names = Names(profile, lambda scope, names: 'job="envoy",instance="a:9091"')
    milliseconds = {"native": 1, "standard": 1000}[profile]

    def bound(match):
        return f'le="{int(match[1]) / milliseconds:g}"'
    table = table.get(profile, table)
    return [{"series": re.sub(r'le="(\d+)ms"', bound, names.write(name)), "values": values}
            for name, values in table.items()]


def unit_test(file, source, profile):
    tests = []
    for alert in source["alerts"]:
        query = f'count by (alertname) (ALERTS{{alertname="{alert["alert"]}",alertstate="firing"}})'
        for outcome in ("fires", "silent"):
            fired = [{"labels": f'{{alertname="{alert["alert"]}"}}', "value": 1}] if outcome == "fires" else []
            tests.append({
                "name": f"{alert['alert']} {outcome}", "interval": "1m", "input_series": series(alert[outcome], profile),
                "promql_expr_test": [{"expr": query, "eval_time": alert.get("at", "20m"), "exp_samples": fired}]})
    return {"rule_files": [f"../rules/{file}"], "evaluation_interval": "1m", "tests": tests}


RUNBOOK_HEAD = """# Runbook

What each alert of [deploy/prometheus](../deploy/prometheus) means and what to look at first. Made by
`deploy/prometheus/build.py` from the rules. Expressions are in the names of `native`; names with a colon are records, which
`deploy/prometheus/rules/native.yml` defines.
"""
TITLES = {"exporter": "The exporter", "proxy": "The proxies"}


def after(duration):
    return "at once" if duration == "0m" else f"after {duration}"


def runbook(source):
    names = names_of("native")
    parts = [RUNBOOK_HEAD]
    for name, title in TITLES.items():
        parts.append(f"\n## {title}\n")
        for alert in source[name]["alerts"]:
            parts.append(
                f"\n### {alert['alert']}\n\n"
                f"{alert['severity'].capitalize()}, {after(alert['for'])}: `{names.write(alert['expr'])}`\n\n"
                f"{alert['runbook'].strip()}\n")
    return "".join(parts)


def dump(document):
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


FOLDERS = [HERE / "rules", HERE / "tests"]


def build():
    """The text of each file by its path."""
    source = load(HERE / "rules.yaml")
    result = {}
    for file, name, profile in [("exporter.yml", "exporter", "native")] + [(f"{p}.yml", "proxy", p) for p in PROFILES]:
        title = name if profile == "native" else f"{name}-{profile}"
        result[HERE / "rules" / file] = dump(group(title, source[name], names_of(profile)))
        result[HERE / "tests" / file] = dump(unit_test(file, source[name], profile))
    result[HERE.parents[1] / "docs/runbook.md"] = runbook(source)
    return result


if __name__ == "__main__":
    sys.exit(main(build(), FOLDERS))
