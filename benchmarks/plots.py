"""Draw the plots of docs/experiments.md from the results of the benchmarks: `python -m benchmarks.plots`.

Plain SVG: a figure is a list of strings, coordinates are pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import log2
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 250, 60, 44, 40
INK, QUIET, GRID = "#1f2430", "#6b7280", "#e5e7eb"
COLOURS = ("#3b5bdb", "#e8590c")
HORIZONS = ((200, "200 impressions per arm"), (1000, "1,000 impressions per arm"))
Figure = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        return round(self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first), 1)


def read(name: str, results: Path = RESULTS) -> list[Figure]:
    """The rows of a benchmark that have a place in a plot."""
    rows: list[Figure] = json.loads((results / f"{name}.json").read_text())["rows"]
    return [row for row in rows if row.get("series") is not None]


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = INK, size: int = 13) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="{width}"{dashed}/>'


def dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="4.5" fill="{colour}"/>'


def svg(title: str, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="Inter, system-ui, sans-serif"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>'
    )
    return "\n".join([head, text(20, 26, title, size=15), *parts, "</svg>\n"])


def percent(value: float) -> str:
    return f"{100 * value:g} %"


def allocation(rows: Sequence[Figure]) -> str:
    """A line per policy: its share of the gap with its interval, at both horizons."""
    names = list(dict.fromkeys(row["series"] for row in rows))
    names.sort(key=lambda name: max(row["value"] for row in rows if row["series"] == name))
    height = TOP + 36 * len(names) + BOTTOM + 24
    x, bottom = Scale(0, 0.7, LEFT, WIDTH - RIGHT), height - BOTTOM - 20
    parts = [line(x(tick), TOP, x(tick), bottom, GRID) for tick in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]
    parts += [text(x(tick), bottom + 18, percent(tick), "middle", QUIET) for tick in (0, 0.2, 0.4, 0.6)]
    for number, name in enumerate(names):
        y = TOP + 36 * number + 18
        parts.append(text(LEFT - 14, y + 4, name, "end"))
        for row in (row for row in rows if row["series"] == name):
            first = row["x"] == HORIZONS[0][0]
            at, colour = y - 5 if first else y + 5, COLOURS[0 if first else 1]
            parts += [line(x(row["low"]), at, x(row["high"]), at, colour, 2), dot(x(row["value"]), at, colour)]
    for number, (_, name) in enumerate(HORIZONS):
        parts += legend(LEFT + 200 * number, height - 18, name, COLOURS[number])
    return svg("Share of the gap between uniform and oracle allocation, 95 % intervals", height, parts)


def legend(x: float, y: float, name: str, colour: str) -> list[str]:
    return [dot(x + 5, y - 4, colour), text(x + 16, y, name, colour=QUIET)]


@dataclass(frozen=True)
class Chart:
    """Lines over a horizontal axis; `promise` is a value, drawn dotted, with its name."""

    title: str
    across: str
    series: tuple[tuple[str, str], ...]
    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...]
    promise: tuple[float, str]
    place: Callable[[float], float] = float
    name_x: Callable[[float], str] = "{:g}".format


def lines(rows: Sequence[Figure], chart: Chart) -> str:
    """The rows of the chart's series as connected dots."""
    height, left = 300, 70
    x = Scale(chart.place(chart.x_ticks[0]), chart.place(chart.x_ticks[-1]), left, WIDTH - RIGHT)
    y = Scale(chart.y_ticks[0], chart.y_ticks[-1], height - 70, TOP + 8)
    parts = [line(left, y(tick), WIDTH - RIGHT, y(tick), GRID) for tick in chart.y_ticks]
    parts += [text(left - 10, y(tick) + 4, percent(tick), "end", QUIET) for tick in chart.y_ticks]
    parts += [text(x(chart.place(tick)), height - 50, chart.name_x(tick), "middle", QUIET) for tick in chart.x_ticks]
    parts.append(text((left + WIDTH - RIGHT) / 2, height - 32, chart.across, "middle", QUIET))
    promised, words = chart.promise
    parts.append(line(left, y(promised), WIDTH - RIGHT, y(promised), QUIET, 1.5, "2 4"))
    parts.append(text(WIDTH - RIGHT, height - 10, f"dotted: {words}", "end", QUIET))
    for number, (series, name) in enumerate(chart.series):
        points = sorted((x(chart.place(row["x"])), y(row["value"])) for row in rows if row["series"] == series)
        path = " ".join(f"{px},{py}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
        parts += [dot(px, py, COLOURS[number]) for px, py in points]
        parts += legend(left + 240 * number, height - 10, name, COLOURS[number])
    return svg(chart.title, height, parts)


PEEKING = Chart(
    "A/A experiments ever called significant at 5 %",
    "daily looks so far",
    (("A/A fixed", "the fixed test, read every day"), ("A/A sequential", "the sequential test")),
    (0, 15, 30, 45, 60, 75, 90),
    (0, 0.1, 0.2, 0.3, 0.4),
    (0.05, "promised, at most 5 %"),
)
COVERAGE = Chart(
    "How often the 95 % interval holds the true rate",
    "successes to be expected",
    (("coverage", "Wilson's interval at a rate of 1.2 %"),),
    (3, 6, 12, 24, 48, 96, 192),
    (0.9, 0.92, 0.94, 0.96, 0.98, 1.0),
    (0.95, "promised, 95 %"),
    log2,
)
SAMPLE_RATIO = Chart(
    "How often a crooked split of 10,000 impressions is flagged",
    "share that the first of two variants got",
    (("sample ratio", "chi-square at 0.001"),),
    (0.5, 0.505, 0.51, 0.515, 0.52, 0.525, 0.53),
    (0, 0.25, 0.5, 0.75, 1.0),
    (0.001, "of even splits, 0.1 %"),
    name_x=percent,
)


def draw(results: Path = RESULTS) -> dict[str, str]:
    """File name → SVG."""
    statistics = read("experiment_statistics", results)
    return {
        "allocation-replay.svg": allocation(read("allocation_replay", results)),
        "daily-peeks.svg": lines(statistics, PEEKING),
        "interval-coverage.svg": lines(statistics, COVERAGE),
        "sample-ratio-power.svg": lines(statistics, SAMPLE_RATIO),
    }


def main() -> None:
    for name, drawn in draw().items():
        (IMAGES / name).write_text(drawn)


if __name__ == "__main__":
    main()
