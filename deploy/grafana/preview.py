#!/usr/bin/env python3
"""Draws a dashboard from what a Prometheus answers to its queries, for the documentation: no Grafana is needed.

    pip install matplotlib pillow
    preview.py http://127.0.0.1:9090 overview clusters --out docs/images

It is a likeness, not Grafana: panels, legends and units are the dashboard's, fonts and colors are close.
"""

import argparse
import io
import json
import math
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402
from PIL import Image  # noqa: E402

HERE = Path(__file__).resolve().parent
COLORS = ["#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#56A64B", "#FADE2A", "#37872D"]
NAMED = {"green": 0, "yellow": 1, "blue": 5, "orange": 3, "red": 4}
PAGE, PANEL, TEXT, DIM, GRID = "#111217", "#181b1f", "#d8d9da", "#9fa1a6", "#2c3235"
STEPS = 120
CELL = (0.56, 0.42)


def scaled(value, base, names):
    step = 0
    while abs(value) >= base and step < len(names) - 1:
        value, step = value / base, step + 1
    return f"{value:.3g} {names[step]}".strip()


def in_unit(value, unit):
    """A number as Grafana would write it."""
    if math.isnan(value):
        return "no data"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return scaled(value, 1024, ["B", "KiB", "MiB", "GiB"])
    if unit == "Bps":
        return scaled(value, 1000, ["B/s", "kB/s", "MB/s", "GB/s"])
    if unit in ("s", "ms", "dtdurations"):
        value = value / 1000 if unit == "ms" else value
        for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 0.001)):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return "0 s" if value == 0 else f"{value * 1e6:.3g} µs"
    if unit == "hex":
        return f"{int(value):x}"
    suffix = {"reqps": " req/s", "ops": "/s"}.get(unit, "")
    return scaled(value, 1000, ["", "K", "M"]) + suffix


class Source:
    def __init__(self, url, job, minutes, window):
        self.url, self.job, self.window = url.rstrip("/"), job, window
        self.end = time.time()
        self.start = self.end - minutes * 60

    def ask(self, query, instant=False):
        query = query.replace("$__rate_interval", self.window).replace("$job", self.job)
        query = re.sub(r'"(?:\(\.\*,\)\?\()?\$\w+(?:\)\(,\.\*\)\?)?"', lambda match: match[0] if re.fullmatch(r'"\$\d"', match[0]) else '".*"', query)
        times = {"time": self.end} if instant else {
            "start": self.start, "end": self.end, "step": (self.end - self.start) / STEPS}
        path = "query" if instant else "query_range"
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?" + urllib.parse.urlencode({"query": query, **times})) as answer:
            return json.load(answer)["data"]["result"]


def legend(pattern, labels):
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), pattern).strip()


def color_for(value, panel):
    color = COLORS[0]
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = COLORS[NAMED[step["color"]]]
    return color


def draw_stat(axes, panel, source):
    axes.axis("off")
    target = panel["targets"][0]
    rows = source.ask(target["expr"], instant=True)
    value = float(rows[0]["value"][1]) if rows else math.nan
    defaults = panel["fieldConfig"]["defaults"]
    text = in_unit(value, defaults["unit"])
    for mapping in defaults["mappings"]:
        text = mapping["options"].get(f"{value:g}", {"text": text})["text"]
    if panel["options"]["textMode"] == "name" and rows:
        text = legend(target["legendFormat"], rows[0]["metric"])
    axes.text(0.5, 0.4, text, color=color_for(value, panel), fontsize=19 if len(text) < 12 else 11,
              ha="center", va="center", weight="bold")


def draw_table(axes, panel, source):
    axes.axis("off")
    columns, table = [], {}
    units = {override["matcher"]["options"]: prop["value"] for override in panel["fieldConfig"]["overrides"]
             for prop in override["properties"] if prop["id"] == "unit"}
    names = panel["transformations"][1]["options"]["renameByName"]
    for target in panel["targets"]:
        name = names.get(f"Value #{target['refId']}", names.get("Value"))
        columns.append(name)
        for row in source.ask(target["expr"], instant=True):
            key = " ".join(value for label, value in sorted(row["metric"].items()))
            table.setdefault(key, {})[name] = in_unit(float(row["value"][1]), units[name])
    rows = [[key, *[cells.get(name, "") for name in columns]] for key, cells in table.items()][:9]
    if not rows:
        return
    width = 0.24
    drawn = axes.table(cellText=rows, colLabels=["", *columns], bbox=[0.01, 0.02, 0.98, 0.86], edges="horizontal", colLoc="left",
                       colWidths=[width] + [(1 - width) / len(columns)] * len(columns), cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8.5)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_edgecolor(GRID)
        cell.get_text().set_color("#6E9FFF" if row == 0 else TEXT)


def style(axes, source, unit):
    axes.set_facecolor(PANEL)
    axes.tick_params(colors=DIM, labelsize=7, length=0)
    axes.grid(color=GRID, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlim(source.start, source.end)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time.strftime("%H:%M:%S", time.gmtime(value))))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: in_unit(value, unit)))


def draw_timeseries(axes, panel, source):
    defaults = panel["fieldConfig"]["defaults"]
    lines = []
    fixed = {override["matcher"]["options"]: COLORS[NAMED[override["properties"][0]["value"]["fixedColor"]]]
             for override in panel["fieldConfig"]["overrides"]}
    for target in panel["targets"]:
        for series in source.ask(target["expr"]):
            points = [(float(at), float(value)) for at, value in series["values"] if not math.isnan(float(value))]
            if points:
                lines.append((legend(target["legendFormat"], series["metric"]) or "value", dict(points)))
    style(axes, source, defaults["unit"])
    if not lines:
        axes.text(0.5, 0.5, "no data", color=DIM, ha="center", transform=axes.transAxes)
        return
    if defaults["custom"]["stacking"]["mode"] == "normal":
        grid = sorted({at for _, points in lines for at in points})
        axes.stackplot(grid, [[points.get(at, 0) for at in grid] for _, points in lines],
                       labels=[name for name, _ in lines], alpha=0.55,
                       colors=[fixed.get(name, COLORS[number % len(COLORS)]) for number, (name, _) in enumerate(lines)])
    else:
        for number, (name, points) in enumerate(lines):
            color = COLORS[number % len(COLORS)]
            # A line ends where there are no numbers, as Grafana's does.
            step, times = (source.end - source.start) / STEPS, sorted(points)
            for before, after in zip(times, times[1:]):
                if after - before > 1.5 * step:
                    points[before + step] = math.nan
            times = sorted(points)
            axes.plot(times, [points[at] for at in times], color=color, linewidth=1.1, label=name)
            axes.fill_between(times, [points[at] for at in times], color=color, alpha=0.07)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]), top=defaults.get("max"))
    if max(value for _, points in lines for value in points.values() if not math.isnan(value)) == 0:
        axes.set_ylim(0, 1)
    handles, labels = axes.get_legend_handles_labels()
    # As many columns as the panel has room for.
    room, longest = 11 * panel["gridPos"]["w"], max(map(len, labels))
    wide = max(1 if len(labels) <= 3 else 2, min(room // (longest + 8), 3))
    small = longest > room // wide - 8
    shown = axes.legend(handles[:3 * wide], [label[:room // wide - 3] for label in labels], loc="upper center", bbox_to_anchor=(0.5, -0.1),
                        ncol=wide, fontsize=5.5 if small else 6.5, frameon=False, handlelength=1.1, columnspacing=1.0)
    for text in shown.get_texts():
        text.set_color(TEXT)


def draw_heatmap(axes, panel, source):
    rows = {float(row["metric"]["le"]): row["values"] for row in source.ask(panel["targets"][0]["expr"])}
    style(axes, source, panel["fieldConfig"]["defaults"]["unit"])
    bounds = sorted(rows)
    cells = [[float(value) for _, value in rows[bound]] for bound in bounds]
    shown = [[max(0, high - low) for high, low in zip(cells[index], cells[index - 1] if index else [0] * len(cells[0]))]
             for index in range(len(cells))]
    used = [index for index, row in enumerate(shown) if any(row)]
    if not used:
        return
    first, last = used[0], used[-1]
    axes.imshow([[math.sqrt(value) for value in row] for row in shown[first:last + 1]], aspect="auto", origin="lower",
                extent=(source.start, source.end, -0.5, last - first + 0.5), cmap="heat", interpolation="nearest")
    axes.grid(False)
    axes.set_yticks(range(last - first + 1), [in_unit(bound, panel["fieldConfig"]["defaults"]["unit"]) for bound in bounds[first:last + 1]])


DRAW = {"stat": draw_stat, "table": draw_table, "timeseries": draw_timeseries, "heatmap": draw_heatmap}


def draw(dashboard, source, height):
    """One picture of the first rows, down to a height in Grafana's units."""
    panels = [panel for panel in dashboard["panels"] if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= height]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = pyplot.figure(figsize=(24 * CELL[0], rows * CELL[1]), facecolor=PAGE)
    for panel in panels:
        place = panel["gridPos"]
        left, bottom = place["x"] / 24, 1 - (place["y"] + place["h"]) / rows
        width, tall = place["w"] / 24, place["h"] / rows
        if panel["type"] == "row":
            figure.text(left + 0.006, bottom + tall * 0.3, "▾ " + panel["title"], color=TEXT, fontsize=10, weight="bold")
            continue
        gap = 0.0025
        figure.add_artist(pyplot.Rectangle((left + gap, bottom + gap), width - 2 * gap, tall - 2 * gap, facecolor=PANEL,
                                           edgecolor=GRID, linewidth=0.6, transform=figure.transFigure, zorder=-1))
        figure.text(left + 0.008, bottom + tall - 0.62 / rows, panel["title"], color=TEXT, fontsize=8.5, weight="bold")
        series = panel["type"] in ("timeseries", "heatmap")
        box = (left + (0.045 if series else 0.004), bottom + (2.1 / rows if series else 0.1 / rows),
               width - (0.056 if series else 0.008), tall - (3.1 / rows if series else 0.4 / rows))
        axes = figure.add_axes(box)
        axes.set_facecolor(PANEL)
        DRAW[panel["type"]](axes, panel, source)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prometheus")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--profile", default="native")
    parser.add_argument("--job", default="envoy")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--window", default="20s")
    parser.add_argument("--height", type=int, default=48)
    options = parser.parse_args()
    matplotlib.colormaps.register(matplotlib.colors.LinearSegmentedColormap.from_list(
        "heat", [PANEL, "#7a3b00", "#ff780a", "#ffd9a0"]))
    source = Source(options.prometheus, options.job, options.minutes, options.window)
    for name in options.names:
        dashboard = json.loads((HERE / "dashboards" / options.profile / f"{name}.json").read_text())
        figure = draw(dashboard, source, options.height)
        path = options.out / f"dashboard-{name}.png"
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=80, facecolor=PAGE)
        # A palette makes a third of it, and there are few colors.
        Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)
        print(f"{path} {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
