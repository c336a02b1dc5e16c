"""What a page is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dash import dcc, html
from dash.development.base_component import Component
from sqlalchemy import Engine

from dash_app.address import EVERYONE, Query
from dash_app.components import Content, Part, Provenance
from threads_agent_dagster.db.identities import Me


@dataclass(frozen=True, slots=True)
class View:
    """One request for a page: where to read, what is asked for, `item` being the last part of a detail's path."""

    engine: Engine
    provenance: Provenance
    query: Query
    item: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A page's title, and what is above and below its controls."""

    title: str
    heading: list[Component]
    children: list[Component]


@dataclass(frozen=True, slots=True)
class Page:
    """`controls` are the filters above `show`; a live page is drawn again whenever data moves."""

    path: str
    show: Callable[[View], Shown]
    controls: Callable[[View], Component] | None = None
    detail: Callable[[View], Shown] | None = None
    live: bool = False


def item_number(item: str | None) -> int | None:
    """The id in a detail's path; None for what no row can have."""
    return int(item) if item and item.isascii() and item.isdigit() and len(item) <= 18 else None


def heading(title: str, under: Content = None, beside: Component | None = None) -> list[Component]:
    """The page's one h1, a line under it, and what is at the right of it."""
    parts = [html.H1(title), beside, html.P(under) if under else None]
    return [html.Header([part for part in parts if part is not None], className="page-heading")]


def whose(me: Me, query: Query, achievements: str) -> list[Part]:
    """Whose the `achievements` are, and the way to the others'; nothing while nobody said who I am."""
    if not me:
        return []
    if query.everyone:
        return [f"{achievements} everyone's: ", dcc.Link("show mine", href=query.link(who=None, page=None))]
    mine = html.Span("mine", title=", ".join((*me.emails, *me.logins)))
    everyones = dcc.Link("show everyone's", href=query.link(who=EVERYONE, page=None))
    return [f"{achievements} ", mine, ": ", everyones]
