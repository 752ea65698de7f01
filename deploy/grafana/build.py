#!/usr/bin/env python3
"""Makes the dashboards from the files in src/, once for each profile. `--check` only says what is out of step.

A file has a title, a description, variables and rows of panels. A panel has a title, a help, a unit and queries,
each a legend and an expression (and a unit, for the column of a table); what is not said has the defaults below.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from generated import main  # noqa: E402
from naming import PROFILES, Names, load  # noqa: E402

# The version of Grafana 10.0's dashboards, which every later Grafana reads and brings up to date itself.
SCHEMA = 38
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WINDOW = "$__rate_interval"
COLORS = ("green", "orange", "red")

# The name, the label, and what Prometheus is asked for. That the label may be missing is why "all" is .* for
# the lower ones: a proxy without a name has no target, and one without traffic no cluster.
VARIABLES = {
    "job": ("Job", "label_values(envoy_server_live, job)", ".+"),
    "instance": ("Instance", 'label_values(envoy_server_live{job=~"$job"}, instance)', ".+"),
    "target": ("Target", 'label_values(envoy_server_live{job=~"$job",instance=~"$instance"}, target)', ".*"),
    "cluster": ("Cluster", "label_values(<cluster.membership_total>, <cluster>)", ".*"),
    "hcm": ("Connection manager", "label_values(<http.downstream_cx_active>, <hcm>)", ".*"),
    "listener": ("Listener", "label_values(<listener.downstream_cx_active>, <listener>)", ".*"),
}
EVERYWHERE = ("job", "instance", "target")


def selectors(scope, names, source=None):
    """The matchers of a scope on a dashboard, by the variables that it has."""
    variables = (source or {}).get("variables", ())
    parts = [f'{name}=~"${name}"' for name in EVERYWHERE if name != "target" or scope != "process"]
    if scope == "http":
        # Envoy's admin interface is one as well; what reads it is no traffic.
        parts.append(f'{names.labels["hcm"]}!="admin"')
    name = {"http": "hcm"}.get(scope, scope)
    if name in variables and name not in EVERYWHERE:
        # A series may be of several clusters, with commas between them: it is found by each.
        pattern = f"(.*,)?(${name})(,.*)?" if name in source.get("several", ()) else f"${name}"
        parts.append(f'{names.labels[name]}=~"{pattern}"')
    return ",".join(parts)


def variable(name, names):
    label, query, everything = VARIABLES[name]
    query = Names(names.profile, selectors).write(query)
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
        "query": {"query": query, "refId": "variable"}, "regex": "", "refresh": 2, "sort": 1,
        "multi": True, "includeAll": True, "allValue": everything, "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "hide": 0, "skipUrlSync": False,
    }


def unit_of(unit, names):
    """`time` is what the histograms of the profile are in."""
    return {"native": "ms", "standard": "s"}[names.profile] if unit == "time" else unit


def thresholds(values):
    """Values from good to bad; where they fall, little is worse than much."""
    colors = COLORS if not values or len(values) == 2 else (COLORS[0], COLORS[2])
    values = values or []
    if values != sorted(values):
        colors, values = colors[::-1], values[::-1]
    return {"mode": "absolute", "steps": [
        {"color": color, "value": value} for color, value in zip(colors, [None, *values])]}


def targets(panel, names):
    kind = panel.get("kind", "timeseries")
    result = []
    for number, (legend, expression, *_) in enumerate(panel["queries"]):
        written = {
            "refId": chr(ord("A") + number), "datasource": SOURCE, "editorMode": "code",
            "expr": names.write(expression), "legendFormat": re.sub(r"<(\w+)>", lambda m: names.labels[m[1]], legend),
        }
        written |= {"instant": True, "range": False} if kind in ("stat", "table") else {"instant": False, "range": True}
        if kind in ("table", "heatmap"):
            written["format"] = kind
        result.append(written)
    return result


def timeseries(panel):
    style = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if panel.get("stack") else 8, "showPoints": "never",
        "spanNulls": False, "axisSoftMin": 0, "stacking": {"mode": "normal" if panel.get("stack") else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.get("thresholds") else "off"},
    }
    return {"custom": style}, {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def stat(panel):
    return {}, {
        "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "wideLayout": True,
        "textMode": panel.get("text", "auto"), "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }


def heatmap(panel):
    return {"custom": {"scaleDistribution": {"type": "linear"}}}, {
        "calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "yAxis": {"unit": panel["unit"], "axisPlacement": "left"}, "rowsFrame": {"layout": "auto"},
        "legend": {"show": True}, "tooltip": {"mode": "single", "yHistogram": False},
    }


def table(panel):
    return {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}}, {
        "showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False},
    }


def columns(panel, names):
    """A table has a column for each query; rows are joined by their labels."""
    legends = {f"Value #{chr(ord('A') + number)}" if len(panel["queries"]) > 1 else "Value": query
               for number, query in enumerate(panel["queries"])}
    overrides = [
        {"matcher": {"id": "byName", "options": query[0]},
         "properties": [{"id": "unit", "value": unit_of(query[2] if len(query) > 2 else panel["unit"], names)}]}
        for query in panel["queries"]
    ]
    if panel.get("link"):
        label, dashboard = panel["link"]
        overrides.append({"matcher": {"id": "byName", "options": names.labels[label]}, "properties": [{
            "id": "links", "value": [{
                "title": "Show", "targetBlank": False,
                "url": f"/d/{uid(dashboard, names.profile)}?var-{label}=${{__value.text}}&${{__url_time_range}}"}]}]})
    return overrides, [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {
            "excludeByName": {"Time": True}, "indexByName": {},
            "renameByName": {value: query[0] for value, query in legends.items()}}},
    ]


def fixed_colors(panel):
    return [{"matcher": {"id": "byName", "options": legend},
             "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]}
            for legend, color in panel.get("colors", {}).items()]


KINDS = {"timeseries": timeseries, "stat": stat, "heatmap": heatmap, "table": table}


def panel_of(panel, names, number, place):
    kind = panel.get("kind", "timeseries")
    panel = {**panel, "unit": unit_of(panel["unit"], names)}
    defaults, options = KINDS[kind](panel)
    defaults |= {"unit": panel["unit"], "thresholds": thresholds(panel.get("thresholds")), "mappings": [],
                 "color": {"mode": "palette-classic" if kind in ("timeseries", "heatmap") else "thresholds"}}
    if "values" in panel:
        defaults["mappings"] = [{"type": "value", "options": {
            str(value): {"text": text, "index": index} for index, (value, text) in enumerate(panel["values"].items())}}]
    for limit in ("min", "max", "decimals"):
        if limit in panel:
            defaults[limit] = panel[limit]
    overrides, transformations = columns(panel, names) if kind == "table" else (fixed_colors(panel), [])
    return {
        "id": number, "type": kind, "title": panel["title"], "description": " ".join(panel["help"].split()),
        "datasource": SOURCE, "gridPos": place, "targets": targets(panel, names),
        "fieldConfig": {"defaults": defaults, "overrides": overrides}, "options": options,
        "transformations": transformations, "links": [],
    }


def panels_of(rows, names):
    """Panels from left to right; a row of a dashboard is as high as its highest panel."""
    result, y = [], 0
    for row in rows:
        result.append({"id": len(result) + 1, "type": "row", "title": row["title"], "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y, x, height = y + 1, 0, 0
        for panel in row["panels"]:
            small = panel.get("kind") == "stat"
            w, h = panel.get("width", row.get("width", 4 if small else 8)), panel.get("height", 4 if small else 8)
            if x + w > 24:
                x, y, height = 0, y + height, 0
            result.append(panel_of(panel, names, len(result) + 1, {"h": h, "w": w, "x": x, "y": y}))
            x, height = x + w, max(height, h)
        y += height
    return result


def uid(name, profile):
    return f"envoy-{name}" + ("" if profile == "native" else f"-{profile}")


def dashboard(name, source, profile):
    names = Names(profile, lambda scope, names: selectors(scope, names, source), WINDOW)
    return {
        "uid": uid(name, profile), "title": source["title"] + ("" if profile == "native" else f" ({profile})"),
        "description": " ".join(source["description"].split()), "tags": ["envoy", "envoy-exporter", profile],
        "schemaVersion": SCHEMA, "version": 1, "editable": True, "graphTooltip": 1, "timezone": "", "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"}, "fiscalYearStartMonth": 0, "weekStart": "", "liveNow": False,
        "links": [{
            "type": "dashboards", "title": "Envoy", "tags": ["envoy-exporter", profile], "asDropdown": True, "icon": "external link",
            "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}],
        "annotations": {"list": [{
            "name": "Starts of the proxy", "datasource": SOURCE, "enable": True, "hide": False, "iconColor": "purple",
            "expr": names.write("resets(<server.uptime>[1m]) > 0"), "step": "60s", "titleFormat": "Envoy started",
            "textFormat": "{{instance}} {{target}}"}]},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "",
             "refresh": 1, "hide": 0, "includeAll": False, "multi": False, "options": [], "skipUrlSync": False, "current": {}},
            *[variable(entry, names) for entry in (*EVERYWHERE, *source.get("variables", ()))],
        ]},
        "panels": panels_of(source["rows"], names),
    }


FOLDERS = [HERE / "dashboards" / profile for profile in PROFILES]


def build():
    """The text of each file by its path."""
    result = {}
    for path in sorted((HERE / "src").glob("*.yaml")):
        for profile in PROFILES:
            text = json.dumps(dashboard(path.stem, load(path), profile), indent=2, ensure_ascii=True)
            result[HERE / "dashboards" / profile / f"{path.stem}.json"] = text + "\n"
    return result


if __name__ == "__main__":
    sys.exit(main(build(), FOLDERS))
