"""What surrounds every page: navigation, colour scheme, the notice that the database is away."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from dash_app import ids
from dash_app.components import labelled

BRAND = "Threads-Agent"
POLL_SECONDS = 5.0
NAVIGATION = (
    ("Overview", "/"),
    ("Achievements", "/achievements"),
    ("Content Pipeline", "/content"),
    ("A/B Testing", "/experiments"),
)
THEME = {
    "fontFamily": "Inter, system-ui, -apple-system, 'Segoe UI', sans-serif",
    "primaryColor": "indigo",
    "defaultRadius": "md",
    "cursorType": "pointer",
}

# Scripts come from files only, so that the content security policy can forbid inline ones. They are named here because
# Dash looks for assets only when its own paths are asked for, not at a link to a page. colour-scheme.js runs before the
# first paint, or a reader in dark mode would see a white flash.
INDEX = """<!DOCTYPE html>
<html lang="en">
    <head>
        {%metas%}
        <title>{%title%}</title>
        <script src="/assets/colour-scheme.js"></script>
        {%favicon%}
        {%css%}
        <link rel="stylesheet" href="/assets/dashboard.css">
    </head>
    <body>
        {%app_entry%}
        <noscript>The dashboard needs JavaScript. The same data is in PostgreSQL and behind the API.</noscript>
        <footer>
            {%config%}
            {%scripts%}
            <script src="/assets/dashboard.js"></script>
            {%renderer%}
        </footer>
    </body>
</html>
"""


def layout(dagster_url: str) -> Component:
    """The same for every page; callbacks fill in controls and body."""
    provider: Component = dmc.MantineProvider(
        [
            dcc.Location(id=ids.URL, refresh="callback-nav"),
            dcc.Interval(id=ids.CLOCK, interval=int(POLL_SECONDS * 1000)),
            dcc.Store(id=ids.TICK),
            dcc.Store(id=ids.PULSE),
            dcc.Store(id=ids.HEALED),
            dcc.Store(id=ids.TITLE),
            html.A("Skip to content", href="#main", className="skip"),
            html.Div([_sidebar(dagster_url), _main()], className="frame"),
        ],
        theme=THEME,
        defaultColorScheme="auto",
    )
    return provider


def _sidebar(dagster_url: str) -> Component:
    links = [
        dmc.NavLink(label=label, href=path, active=_active(path), className="nav-link") for label, path in NAVIGATION
    ]
    scheme = dmc.ColorSchemeToggle(
        lightIcon=html.Span("Switch to dark"),
        darkIcon=html.Span("Switch to light"),
        variant="subtle",
        color="gray",
        className="scheme",
    )
    dagster = html.A("Open Dagster", href=dagster_url, target="_blank", rel="noopener")
    return html.Header(
        [
            dcc.Link(BRAND, "/", className="brand"),
            html.Nav(links, **labelled("Pages")),
            html.Div([dagster, scheme], className="sidebar-foot"),
        ],
        className="sidebar",
    )


def _active(path: str) -> str:
    return "exact" if path == "/" else "partial"


def _main() -> Component:
    return html.Main(
        [
            html.Div(_away(), id=ids.AWAY, role="status", hidden=True),
            html.Div(id=ids.OUTAGE, role="status"),
            html.Div(id=ids.HEADING),
            html.Div(id=ids.CONTROLS, className="controls"),
            html.Div(id=ids.BODY, className="body"),
        ],
        id="main",
        tabIndex="-1",
    )


def outage() -> Component:
    return _notice("The database is not reachable")


def _away() -> Component:
    """Shown by dashboard.js, which sees that nobody answers."""
    return _notice("The dashboard is not reachable")


def _notice(title: str) -> Component:
    alert: Component = dmc.Alert(
        "What you see may be out of date. Trying again every few seconds; the page recovers by itself.",
        title=title,
        color="orange",
        variant="light",
        className="outage",
    )
    return alert
