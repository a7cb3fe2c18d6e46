#!/usr/bin/env python3
"""Draws the dashboard without Grafana: asks a Prometheus the dashboard's own queries, and plots what it answers.

    deploy/grafana/picture.py PROMETHEUS_URL FILE.png [MINUTES]

Titles, queries, legends, units, colours and places are those of dashboards/flashsale.json, and the time is the last
MINUTES, 14 unless said. A panel without data is named on standard error, and the exit code is then 1. It needs the
package matplotlib.
"""

import datetime
import json
import math
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
from matplotlib import dates, pyplot, ticker  # noqa: E402
from PIL import Image  # noqa: E402

DASHBOARD = pathlib.Path(__file__).parent / "dashboards/flashsale.json"
COLUMNS = 24
WIDTH_INCHES, DPI = 15.0, 100
UNIT_INCHES = 0.30
POINTS = 180
INK, FAINT, BACKGROUND, CARD = "#24292e", "#8b949e", "#f4f5f5", "#ffffff"
NAMED = {"green": "#37872d", "yellow": "#e0a800", "blue": "#3274d9", "red": "#c4162a"}
# The colours of lines without one of their own.
OTHERS = ("#1f9eb5", "#ff780a", "#a352cc", "#56a64b", "#e0226e", "#3274d9", "#c9a400", "#8f6b32", "#705da0")
LEGEND_MAX = 9


class Prometheus:
    """Answers queries about the last minutes."""

    def __init__(self, url, minutes):
        self.url, self.end = url.rstrip("/"), time.time()
        self.start = self.end - minutes * 60
        scrape = self.ask("targets")["activeTargets"][0]["scrapeInterval"]
        self.scrape_seconds = int(re.fullmatch(r"(\d+)s", scrape)[1])
        self.step = max(self.scrape_seconds, math.ceil((self.end - self.start) / POINTS))

    def ask(self, path, **parameters):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=60) as answer:
            return json.load(answer)["data"]

    def lines(self, target):
        """Returns the lines of a query: their legends with times and values."""
        # Grafana's interval of a rate is at least four scrapes, and longer than a step.
        interval = max(4 * self.scrape_seconds, self.step + self.scrape_seconds)
        query = target["expr"].replace("$__rate_interval", f"{interval}s").replace("$product", ".*")
        data = self.ask("query_range", query=query, start=self.start, end=self.end, step=self.step)
        for series in data["result"]:
            name = re.sub(r"\{\{(\w+)\}\}", lambda label: series["metric"].get(label[1], ""), target["legendFormat"])
            points = [(float(at), float(value)) for at, value in series["values"] if math.isfinite(float(value))]
            if points:
                yield name, points


def colour(name):
    return NAMED.get(name, name)


def overrides(panel):
    """Maps the names of lines to what the dashboard says of them."""
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        of_line = found.setdefault(override["matcher"]["options"], {})
        of_line |= {item["id"]: item["value"] for item in override["properties"]}
    return found


def number(value, unit):
    """Writes a value as Grafana does, with its unit."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    if unit == "s":
        if value == 0 or value >= 60:
            return f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min"
        return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
    text = f"{value / 1000:.4g} k" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{text}/s" if unit == "reqps" else text


def place(figure, panel, rows):
    """Adds axes where the dashboard has the panel, with a card behind them."""
    grid = panel["gridPos"]
    gap = 0.12
    left, width = grid["x"] / COLUMNS, grid["w"] / COLUMNS
    top, height = 1 - grid["y"] / rows, grid["h"] / rows
    x_gap, y_gap = gap / 2 / COLUMNS, gap / rows
    card = pyplot.Rectangle(
        (left + x_gap, top - height + y_gap), width - 2 * x_gap, height - 2 * y_gap, transform=figure.transFigure,
        facecolor=CARD, edgecolor="#d8dbde", linewidth=0.8, zorder=-1,
    )
    figure.add_artist(card)
    figure.text(
        left + 0.3 / COLUMNS, top - 0.75 / rows, panel["title"], fontsize=9.5, weight="bold", color=INK, va="center"
    )
    return left, top, width, height


def stat(figure, panel, rows, prometheus):
    """Draws the last value of a query. Returns whether there is one."""
    left, top, width, height = place(figure, panel, rows)
    defaults = panel["fieldConfig"]["defaults"]
    lines = list(prometheus.lines(panel["targets"][0]))
    text, shade = "no data", FAINT
    if lines:
        value = lines[0][1][-1][1]
        text = number(value, defaults["unit"])
        steps = defaults["thresholds"]["steps"]
        shade = colour([step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1])
    figure.text(left + width / 2, top - height * 0.62, text, fontsize=19, color=shade, ha="center", va="center")
    return bool(lines)


def timeseries(figure, panel, rows, prometheus):
    """Draws lines or stacked areas over time. Returns whether there are any."""
    left, top, width, height = place(figure, panel, rows)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    unit, special = panel["fieldConfig"]["defaults"]["unit"], overrides(panel)
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    lines = [line for target in panel["targets"] for line in prometheus.lines(target)]
    names = [shorten(name, 52 if len(lines) < 4 else 30) for name, _ in lines][:LEGEND_MAX]
    # Some ten signs of the legend are as wide as a column of the dashboard, and a key with its gaps is 0.8 of one.
    columns = max(1, min(4, int((panel["gridPos"]["w"] - 0.9) / (max(map(len, names), default=1) / 10 + 0.8))))
    below = 0.52 * math.ceil(len(names) / columns)
    axes = figure.add_axes(
        (left + 1.25 / COLUMNS, top - height + (1.15 + below) / rows,
         width - 1.6 / COLUMNS, height - (2.5 + below) / rows)
    )
    shades = iter(OTHERS * 3)
    handles, areas = {}, []
    for name, points in lines:
        says = special.get(name, {})
        shade = colour(says["color"]["fixedColor"]) if "color" in says else next(shades)
        if stacked and says.get("custom.stacking", {}).get("mode") != "none":
            areas.append((name, dict(points), shade))
            continue
        moments = [datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at, _ in points]
        values, thick = [value for _, value in points], says.get("custom.lineWidth", 1.4)
        (line,) = axes.plot(moments, values, color=shade, linewidth=thick)
        handles[name] = line
    if areas:
        moments = sorted({at for _, points, _ in areas for at in points})
        stack = axes.stackplot(
            [datetime.datetime.fromtimestamp(at, datetime.timezone.utc) for at in moments],
            [[points.get(at, 0.0) for at in moments] for _, points, _ in areas],
            colors=[shade for _, _, shade in areas], alpha=0.75, linewidth=0,
        )
        handles |= {name: area for (name, _, _), area in zip(areas, stack)}
    style(axes, unit, prometheus)
    if not lines:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color=FAINT)
    elif any(names):
        if len(lines) > LEGEND_MAX:
            names[-1] += f" … {len(lines) - LEGEND_MAX} more"
        axes.legend(
            [handles[name] for name, _ in lines[:LEGEND_MAX]], names, loc="upper left", fontsize=7.2, ncols=columns,
            bbox_to_anchor=(left + 0.9 / COLUMNS, top - height + (0.55 + below) / rows),
            bbox_transform=figure.transFigure,
            frameon=False, labelcolor=INK, handlelength=1.2, columnspacing=1.0, borderpad=0, borderaxespad=0,
            handletextpad=0.5,
        )
    return bool(lines)


def shorten(name, longest):
    """Leaves out the service of a method, and the middle of what is still too long."""
    name = re.sub(r"flashsale\.v1\.\w+/", "", name)
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-longest // 2:]}"


def levels(top, base):
    """Lists at most six round levels from 0 to the top, in multiples of the base."""
    most = top / base / 5
    power = 10 ** math.floor(math.log10(most))
    between = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most) * base
    return [between * count for count in range(int(top / between) + 1)]


def style(axes, unit, prometheus):
    """Sets axes, ticks and grid."""
    moment = lambda at: datetime.datetime.fromtimestamp(at, datetime.timezone.utc)  # noqa: E731
    axes.set_xlim(moment(prometheus.start), moment(prometheus.end))
    low, high = axes.get_ylim()
    axes.set_ylim(0, high if high > 0 and (low, high) != (0, 1) and not math.isclose(high, 0.055) else 1)
    axes.yaxis.set_major_locator(ticker.FixedLocator(levels(axes.get_ylim()[1], 2**20 if unit == "bytes" else 1)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: number(value, unit)))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=6))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.tick_params(labelsize=7.5, colors=INK, length=0, pad=3)
    axes.grid(color="#e5e7ea", linewidth=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw(prometheus, file):
    """Draws all panels, and returns the titles of those without data."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = pyplot.figure(figsize=(WIDTH_INCHES, rows * UNIT_INCHES), dpi=DPI, facecolor=BACKGROUND)
    empty = []
    for panel in panels:
        grid = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(
                0.25 / COLUMNS, 1 - (grid["y"] + 0.55) / rows, panel["title"], fontsize=12, weight="bold", color=INK,
                va="center",
            )
        elif not (stat if panel["type"] == "stat" else timeseries)(figure, panel, rows, prometheus):
            empty.append(panel["title"])
    figure.canvas.draw()
    picture = Image.frombuffer("RGBA", figure.canvas.get_width_height(), figure.canvas.buffer_rgba())
    # Fewer colours make a third of the size.
    picture.convert("RGB").quantize(192, dither=Image.Dither.NONE).save(file, optimize=True)
    return empty


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    minutes = float(sys.argv[3]) if len(sys.argv) == 4 else 14
    empty = draw(Prometheus(sys.argv[1], minutes), sys.argv[2])
    if empty:
        sys.exit(f"no data for: {', '.join(empty)}")


main()
