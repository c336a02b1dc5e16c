"""How a post feels, part by part."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dash_app import wording
from dash_app.charts.frame import ACCENT, layout
from dash_app.rows import Segment

PARTS = {  # twelve of them stand side by side on a phone, so only the first says what it is
    "dtick": 1, "fixedrange": True, "showgrid": False, "zeroline": False,
    "tickprefix": "part ", "showtickprefix": "first", "tickangle": 0,
}  # fmt: skip
SCALE = [[0, "rgba(76, 110, 245, 0.03)"], [1, "rgba(76, 110, 245, 1)"]]


def course(segments: Sequence[Segment]) -> go.Figure:
    """The mood of each part, from -1 (negative) to 1 (positive)."""
    line = go.Scatter(
        x=[segment.index + 1 for segment in segments],
        y=[segment.mood for segment in segments],
        mode="lines+markers",
        line={"color": ACCENT, "width": 2, "shape": "spline", "smoothing": 0.6},
        marker={"size": 8, "color": ACCENT, "line": {"width": 0}},
        hovertemplate="Part %{x}: %{y:.2f}<extra></extra>",
    )
    vertical = {"range": [-1.1, 1.1], "tickvals": [-1, 0, 1], "ticktext": ["negative", "neutral", "positive"]}
    return go.Figure(
        line,
        layout(
            220,
            xaxis=PARTS,
            yaxis={**vertical, "fixedrange": True, "zeroline": False, "automargin": True, "ticklabelstandoff": 6},
        ),
    )


def emotions(segments: Sequence[Segment]) -> go.Figure:
    """Each emotion in each part, from 0 (absent) to 1 (certain)."""
    names = list(segments[0].emotions)
    strengths = [[segment.emotions[name] for segment in segments] for name in names]
    cells = go.Heatmap(
        x=[segment.index + 1 for segment in segments],
        y=[wording.sentence_case(name) for name in names],
        z=strengths,
        zmin=0,
        zmax=1,
        colorscale=SCALE,
        showscale=False,
        xgap=3,
        ygap=3,
        texttemplate="%{z:.2f}",
        hovertemplate="%{y} in part %{x}: %{z:.2f}<extra></extra>",
    )
    return go.Figure(
        cells,
        layout(
            30 * len(names) + 24,
            xaxis=PARTS,
            yaxis={
                "autorange": "reversed",
                "fixedrange": True,
                "showgrid": False,
                "automargin": True,
                "ticklabelstandoff": 6,
            },
        ),
    )
