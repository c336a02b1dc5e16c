"""The figures of the last 30 days with their trend, and what waits to be worked on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import plotly.graph_objects as go
from dash import html
from dash.development.base_component import Component

from dash_app import data, wording
from dash_app.charts import metrics
from dash_app.charts.frame import graph
from dash_app.components import Column, Part, Provenance, card, empty, figure, table
from dash_app.pages.page import Page, Shown, View, heading, whose
from dash_app.rows import DayTotal, Figures, Overview, QueueLine
from threads_agent_dagster.domain.achievements import CATEGORIES

DAYS = 30


@dataclass(frozen=True, slots=True)
class Trend:
    """One value per day of `metric`, None where the day has none."""

    metric: str
    value: Callable[[DayTotal], float | None]
    unit: str

    @property
    def chart(self) -> Callable[[Sequence[date], Sequence[float | None], str], go.Figure]:
        """Amounts are bars from zero; rates and averages are a line with gaps."""
        return metrics.daily_counts if self.value in (_number, _total) else metrics.daily_averages


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the last 30 days."""

    title: str
    meaning: str
    value: Callable[[Figures], str]
    note: Callable[[Figures], str] = lambda _: ""
    trend: Trend | None = None


def _number(day: DayTotal) -> float:
    return day.n


def _average(day: DayTotal) -> float | None:
    return day.total / day.n if day.n else None


def _percentage(day: DayTotal) -> float | None:
    return 100 * day.total / day.n if day.n else None


def _total(day: DayTotal) -> float | None:
    return day.total if day.n else None


TILES = (
    Tile(
        "Achievements",
        "Pieces of work completed in the last 30 days, counted on the day they were completed.",
        lambda figures: wording.count(figures.achievements),
        trend=Trend("achievements", _number, "achievements"),
    ),
    Tile(
        "Average impact",
        "Mean impact score of those achievements that were scored, on a scale from 0 to 100.",
        lambda figures: wording.decimal(figures.average_impact),
        lambda _: "of 100",
        Trend("impact", _average, "of 100"),
    ),
    Tile(
        "Time saved",
        "Hours that the achievements claim to have saved, from their own text; never estimated.",
        lambda figures: wording.amount(figures.hours_saved),
        lambda _: "hours",
        Trend("time_saved", _total, "hours"),
    ),
    Tile(
        "Categories covered",
        "How many of the kinds of work had at least one achievement.",
        lambda figures: wording.count(figures.categories),
        lambda _: f"of {len(CATEGORIES)}",
    ),
    Tile(
        "Posts",
        "Posts dated in the last 30 days.",
        lambda figures: wording.count(figures.posts),
        trend=Trend("posts", _number, "posts"),
    ),
    Tile(
        "Emotion arcs",
        "Posts of the last 30 days whose emotional course was analysed.",
        lambda figures: wording.count(figures.arcs),
        lambda figures: f"of {wording.plural(figures.posts, 'post')}",
        Trend("arcs", _number, "arcs"),
    ),
    Tile(
        "Engagement",
        "Engagements per impression over all posts with measured engagement.",
        lambda figures: wording.percent(figures.engagement_rate),
        trend=Trend("engagement", _percentage, "%"),
    ),
    Tile(
        "Experiment success",
        "Successes per impression, over all variants of all experiments.",
        lambda figures: wording.percent(figures.successes / figures.impressions if figures.impressions else None),
        lambda figures: f"of {wording.plural(figures.impressions, 'impression')}",
        Trend("observations", _percentage, "%"),
    ),
)


def show(view: View) -> Shown:
    read = data.overview(view.engine, everyone=view.query.everyone)
    parts: list[Component] = []
    if read.figures is None:
        parts.append(_never_refreshed())
    else:
        parts.append(_tiles(read.figures, read.daily, view.provenance))
    parts.append(html.Div([_categories(read, view.provenance), _queue(read, view.provenance)], className="halves"))
    return Shown("Overview", _heading(read, view), parts)


def _heading(read: Overview, view: View) -> list[Component]:
    figures, provenance = read.figures, view.provenance
    if figures is None:
        return heading("Overview")
    meaning = "When the figures on this page were last brought up to date."
    refreshed = figure(wording.time(figures.origin.made_at), provenance.button("Last refresh", meaning, figures.origin))
    under: list[Part] = [
        "The last 30 days. Figures refreshed ",
        refreshed,
        *whose(read.me, view.query, ". Achievements are"),
    ]
    return heading("Overview", under)


def _never_refreshed() -> Component:
    return empty(
        "No figures yet",
        [
            "The asset ",
            html.Code("dashboard_metrics"),
            " was never refreshed. It is by itself while the platform runs:",
        ],
        "threads-agent up",
    )


def _tiles(figures: Figures, daily: Mapping[str, Sequence[DayTotal]], provenance: Provenance) -> Component:
    return html.Div([_tile(tile, figures, daily, provenance) for tile in TILES], className="tiles")


def _tile(tile: Tile, figures: Figures, daily: Mapping[str, Sequence[DayTotal]], provenance: Provenance) -> Component:
    source = provenance.button(tile.title, tile.meaning, figures.origin)
    value = [figure(tile.value(figures), source), html.Span(tile.note(figures), className="unit")]
    parts: list[Component] = [html.H2(tile.title), html.P(value, className="value")]
    if tile.trend is not None:
        parts.append(_trend(tile.title, tile.trend, figures, daily.get(tile.trend.metric, [])))
    return html.Section(parts, className="card tile")


def _trend(title: str, trend: Trend, figures: Figures, totals: Sequence[DayTotal]) -> Component:
    days = [figures.today - timedelta(days=back) for back in reversed(range(DAYS))]
    known = {total.day: trend.value(total) for total in totals}
    values = [known.get(day) for day in days]
    if not any(values):
        return html.P("no data in these 30 days", className="no-trend")
    return graph(trend.chart(days, values, trend.unit), f"{title}, day by day over 30 days")


def _categories(read: Overview, provenance: Provenance) -> Component:
    title = "Achievements by category"
    if read.figures is None or not read.categories:
        nothing = empty(
            "No achievements in the last 30 days",
            [
                "The asset ",
                html.Code("achievements"),
                " has no row completed since then. Import the history of a git checkout:",
            ],
            "threads-agent import git PATH",
        )
        return card(title, nothing)
    counts = [(wording.sentence_case(label), n) for label, n in read.categories]
    described = ", ".join(f"{label} {n:,}" for label, n in counts)
    source = provenance.button(title, "Achievements of the last 30 days by kind of work.", read.figures.origin)
    return card([title, source], graph(metrics.shares(counts), described))


def _queue(read: Overview, provenance: Provenance) -> Component:
    meaning = "Rows that are not worked on yet, counted when this page was drawn."
    title: list[Component | str] = ["Work in progress", provenance.live_button("Work in progress", meaning, "pending")]
    if not read.queue:
        return card(title, html.P("Nothing is waiting: every table is up to date.", className="quiet"))
    columns = [
        Column("Table", style="lead"),
        Column("Waiting", style="number"),
        Column("Being done", style="number"),
        Column("Given up", style="number"),
        Column("Oldest day"),
    ]
    parts = [table(columns, [_queue_row(line, provenance) for line in read.queue])]
    if read.dead:
        parts += [html.H3("Given up after repeated failures"), _dead(read)]
    return card(title, parts)


def _queue_row(line: QueueLine, provenance: Provenance) -> list[Component | str]:
    given_up = html.Strong(wording.count(line.dead), className="bad") if line.dead else "0"
    return [
        provenance.asset_link(line.asset),
        wording.count(line.waiting),
        wording.count(line.working),
        given_up,
        wording.day(line.oldest_day),
    ]


def _dead(read: Overview) -> Component:
    items = [
        html.Li(
            [
                html.Div(
                    [html.Code(f"{item.asset} {item.key}"), html.Span(wording.time(item.dead_at), className="quiet")]
                ),
                html.P(item.error or "no reason recorded"),
            ]
        )
        for item in read.dead
    ]
    return html.Ul(items, className="given-up")


PAGE = Page("/", show, live=True)
