"""The overview's charts: 30 days of one metric, and shares by category."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import plotly.graph_objects as go

from dash_app.charts.frame import ACCENT, layout

HALF_DAY = timedelta(hours=12)


def daily_counts(days: Sequence[date], values: Sequence[float | None], unit: str) -> go.Figure:
    """A bar per day."""
    bars = go.Bar(x=list(days), y=list(values), marker={"color": ACCENT, "line": {"width": 0}}, **_hover(unit))
    return go.Figure(bars, _small(days, bargap=0.25))


def daily_averages(days: Sequence[date], values: Sequence[float | None], unit: str) -> go.Figure:
    """A line through the days; one without a measurement is a gap, one between gaps a dot."""
    line = go.Scatter(
        x=list(days),
        y=list(values),
        mode="lines+markers",
        line={"color": ACCENT, "width": 1.75},
        marker={"size": [5 if lonely else 0 for lonely in _lonely(values)], "color": ACCENT, "line": {"width": 0}},
        connectgaps=False,
        **_hover(unit),
    )
    return go.Figure(line, _small(days))


def _hover(unit: str) -> dict[str, Any]:
    return {"hovertemplate": f"%{{x|%-d %b}}: %{{y:,.4~g}} {unit}<extra></extra>"}


def _small(days: Sequence[date], **changes: Any) -> go.Layout:
    axis = {"visible": False, "fixedrange": True}
    span = [_midnight(days[0]) - HALF_DAY, _midnight(days[-1]) + HALF_DAY]
    return layout(
        44,
        xaxis={**axis, "range": span, "type": "date"},
        yaxis={**axis, "rangemode": "tozero"},
        hovermode="x",
        **changes,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _lonely(values: Sequence[float | None]) -> list[bool]:
    padded = [None, *values, None]
    return [before is None and after is None for before, after in zip(padded, padded[2:], strict=False)]


def shares(counts: Sequence[tuple[str, int]]) -> go.Figure:
    """Horizontal bars, the largest on top, each with its number."""
    bars = go.Bar(
        x=[n for _, n in counts],
        y=[label for label, _ in counts],
        orientation="h",
        marker={"color": ACCENT, "cornerradius": 3, "line": {"width": 0}},
        text=[f"{n:,}" for _, n in counts],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:,}<extra></extra>",
    )
    return go.Figure(
        bars,
        layout(
            28 * len(counts) + 8,
            xaxis={"visible": False, "fixedrange": True, "range": [0, max(n for _, n in counts) * 1.12]},
            yaxis={"autorange": "reversed", "fixedrange": True, "automargin": True, "ticklabelstandoff": 8},
            bargap=0.4,
        ),
    )
