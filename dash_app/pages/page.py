"""What a page is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dash.development.base_component import Component
from sqlalchemy import Engine

from dash_app.address import Query
from dash_app.components import Provenance


@dataclass(frozen=True, slots=True)
class View:
    """One request for a page: where to read, what is asked for, `item` being the last part of a detail's path."""

    engine: Engine
    provenance: Provenance
    query: Query
    item: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A page's title and content."""

    title: str
    children: list[Component]


@dataclass(frozen=True, slots=True)
class Page:
    """`controls` are the filters above `show`; a live page is drawn again whenever data moves."""

    path: str
    show: Callable[[View], Shown]
    controls: Callable[[Query], Component] | None = None
    detail: Callable[[View], Shown] | None = None
    live: bool = False
