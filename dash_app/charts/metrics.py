"""The overview's charts: 30 days of one metric, and shares by category."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import plotly.graph_objects as go

from dash_app.charts.frame import ACCENT, ACCENT_SOFT, layout


def sparkline(days: Sequence[date], values: Sequence[float | None], unit: str) -> go.Figure:
    """One point per day; a day without a measurement is a gap."""
    line = go.Scatter(
        x=list(days),
        y=list(values),
        mode="lines+markers",
        line={"color": ACCENT, "width": 1.75},
        marker={"size": [4 if lonely else 0 for lonely in _lonely(values)], "color": ACCENT, "line": {"width": 0}},
        fill="tozeroy",
        fillcolor=ACCENT_SOFT,
        connectgaps=False,
        hovertemplate=f"%{{x|%-d %b}}: %{{y:,.4~g}} {unit}<extra></extra>",
    )
    axis = {"visible": False, "fixedrange": True}
    return go.Figure(line, layout(48, xaxis=axis, yaxis={**axis, "rangemode": "tozero"}, hovermode="x"))


def _lonely(values: Sequence[float | None]) -> list[bool]:
    """Whether a point has no neighbour to draw a line to, and would be invisible without a dot."""
    padded = [None, *values, None]
    return [before is None and after is None for before, after in zip(padded, padded[2:], strict=False)]


def shares(counts: Sequence[tuple[str, int]]) -> go.Figure:
    """Horizontal bars, the largest on top, each with its number."""
    bars = go.Bar(
        x=[n for _, n in counts],
        y=[label for label, _ in counts],
        orientation="h",
        marker={"color": ACCENT, "cornerradius": 3},
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
