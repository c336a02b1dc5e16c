"""Rates with the intervals that say how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dash_app.charts.frame import ACCENT, MUTED, layout


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured rate in 0..1 and the bounds of its interval."""

    label: str
    rate: float
    low: float
    high: float
    is_control: bool


def intervals(measured: Sequence[Interval]) -> go.Figure:
    """A dot per variant with its interval, the control in grey; variants are named by letter, as in the table."""
    dots = go.Scatter(
        x=[100 * variant.rate for variant in measured],
        y=[variant.label for variant in measured],
        mode="markers",
        marker={"size": 10, "color": _colours(measured), "line": {"width": 0}},
        customdata=[[100 * variant.low, 100 * variant.high] for variant in measured],
        hovertemplate="%{y}: %{x:.2f} % (%{customdata[0]:.2f} to %{customdata[1]:.2f} %)<extra></extra>",
    )
    bars = [
        go.Scatter(
            x=[100 * variant.low, 100 * variant.high],
            y=[variant.label] * 2,
            mode="lines",
            line={"width": 3, "color": colour},
            opacity=0.55,
            hoverinfo="skip",
        )
        for variant, colour in zip(measured, _colours(measured), strict=True)
    ]
    low, high = 100 * min(i.low for i in measured), 100 * max(i.high for i in measured)
    margin = 0.04 * (high - low)
    return go.Figure(
        [*bars, dots],
        layout(
            max(38 * len(measured) + 34, 96),  # the axis needs its room below a single variant too
            xaxis={
                "ticksuffix": " %",
                "range": [low - margin, high + margin],
                "fixedrange": True,
                "zeroline": False,
                "nticks": 6,
            },
            yaxis={
                "type": "category",
                "autorange": "reversed",
                "fixedrange": True,
                "showgrid": False,
                "automargin": True,
                "ticklabelstandoff": 8,
            },
        ),
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A promised chance, the share that came true of how many, and its interval where there is one."""

    chance: float
    share: float
    low: float | None
    high: float | None
    pairs: int


def calibration(kept: Sequence[Kept]) -> go.Figure:
    """Promised chances against what came true; on the line a promise is kept."""
    line = go.Scatter(
        x=[50, 100], y=[50, 100], mode="lines", line={"color": MUTED, "width": 1, "dash": "dot"}, hoverinfo="skip"
    )
    above = [100 * ((one.share if one.high is None else one.high) - one.share) for one in kept]
    below = [100 * (one.share - (one.share if one.low is None else one.low)) for one in kept]
    dots = go.Scatter(
        x=[100 * one.chance for one in kept],
        y=[100 * one.share for one in kept],
        mode="markers",
        marker={"size": 9, "color": ACCENT, "line": {"width": 0}},
        error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": ACCENT, "width": 0},
        customdata=[one.pairs for one in kept],
        hovertemplate="foreseen %{x:.0f} %, came true %{y:.0f} % of %{customdata:,} pairs<extra></extra>",
    )
    axis = {"ticksuffix": " %", "fixedrange": True, "zeroline": False, "nticks": 6}
    lowest = min([50.0, *(100 * one.share - minus for one, minus in zip(kept, below, strict=True))])
    return go.Figure(
        [line, dots],
        layout(
            220,
            xaxis={**axis, "range": [48, 102], "title": {"text": "foreseen chance of the favourite"}},
            yaxis={**axis, "range": [lowest - 2, 102], "automargin": True},
        ),
    )


def _colours(measured: Sequence[Interval]) -> list[str]:
    return [MUTED if variant.is_control else ACCENT for variant in measured]
