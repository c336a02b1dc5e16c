"""What all charts share: transparent, no toolbar, the page's own type."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from dash_app.components import labelled

ACCENT = "#4c6ef5"
ACCENT_SOFT = "rgba(76, 110, 245, 0.14)"
MUTED = "#868e96"
WARM = "#e8590c"
TRANSPARENT = "rgba(0, 0, 0, 0)"
FONT = "Inter, system-ui, sans-serif"


def layout(height: int, **changes: Any) -> go.Layout:
    """A layout that carries the data and nothing else."""
    return go.Layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
        font={"family": FONT, "size": 12, "color": MUTED},
        showlegend=False,
        dragmode=False,
        **changes,
    )


def graph(figure: go.Figure, description: str) -> Component:
    """The figure with a text for those who cannot see it."""
    height = {"height": f"{figure.layout.height}px"}
    chart = dcc.Graph(
        figure=figure,
        config={"displayModeBar": False, "responsive": True, "scrollZoom": False, "doubleClick": False},
        style=height,
    )
    # The box has its height before Plotly is loaded, so that nothing jumps.
    return html.Div(chart, role="img", style=height, **labelled(description))
