"""The pieces that every page is made of. Text is always passed as text: nothing here renders markup from data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from dash_app import wording
from dash_app.address import Query
from dash_app.ids import filter_id
from dash_app.rows import PER_PAGE, Listing, Origin

# Wildcard attributes go in as a dict of Any, for the components' stubs know only the named ones.
Attributes = dict[str, Any]
Part = Component | str
Content = Part | Sequence[Part] | None


def labelled(name: str) -> Attributes:
    """The name that a screen reader says."""
    return {"aria-label": name}


def _data_label(title: str) -> Attributes:
    return {"data-label": title}


def decoration() -> Attributes:
    """For what repeats a text beside it."""
    return {"aria-hidden": "true"}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Makes the ⓘ beside a number; knows where Dagster's pages are."""

    dagster_url: str

    def asset_link(self, asset: str) -> Component:
        return _outside(asset, f"{self.dagster_url}/assets/{quote(asset, safe='')}")

    def run_link(self, run_id: str) -> Component:
        return _outside(run_id.partition("-")[0], f"{self.dagster_url}/runs/{quote(run_id, safe='')}")

    def button(self, label: str, meaning: str, origin: Origin) -> Component:
        """A small button that opens what the number means and where it comes from."""
        lines = [
            ("Asset", self.asset_link(origin.asset)),
            ("Made by run", self.run_link(origin.run_id) if origin.run_id else "none recorded"),
            ("Made at", wording.time(origin.made_at) if origin.made_at else "not recorded"),
            ("Code version", origin.code_version or "not recorded"),
        ]
        if origin.scorer_version:
            lines.append(("Scored by", origin.scorer_version))
        return _popover(label, [html.P(meaning), definitions(lines)])

    def live_button(self, label: str, meaning: str, table: str) -> Component:
        """The same for what is counted when the page is drawn, by no run."""
        return _popover(label, [html.P(meaning), definitions([("Table", html.Code(table)), ("Counted", "just now")])])


def _popover(label: str, children: list[Component]) -> Component:
    button = html.Button("i", className="source", type="button", **labelled(f"Where “{label}” comes from"))
    popover: Component = dmc.Popover(
        [
            dmc.PopoverTarget(button, boxWrapperProps={"className": "source-box"}),
            dmc.PopoverDropdown(html.Div([html.Strong(label), *children], className="provenance")),
        ],
        width=300,
        position="bottom",
        withArrow=True,
        shadow="md",
        trapFocus=True,
        returnFocus=True,
    )
    return popover


def _outside(label: str, address: str) -> Component:
    return html.A(label, href=address, target="_blank", rel="noopener")


def web_link(label: str, address: str | None) -> Component | str:
    """A link, if the address is one of the web; the bare label otherwise (stored text may say `javascript:`)."""
    if address is None or urlsplit(address).scheme not in ("http", "https"):
        return label
    return html.A(label, href=address, target="_blank", rel="noopener noreferrer")


def definitions(pairs: Sequence[tuple[str, Content]]) -> Component:
    """Names with their values."""
    return html.Dl([part for name, value in pairs for part in (html.Dt(name), html.Dd(value))])


def figure(value: str, source: Component) -> Component:
    """A number with its ⓘ."""
    if value == wording.MISSING:
        shown = html.Span(value, className="missing", title="not measured", **labelled("not measured"))
    else:
        shown = html.Span(value)
    return html.Span([shown, source], className="figure")


def back(label: str, path: str) -> Component:
    return dcc.Link(f"← {label}", path, className="back")


def search_box(query: Query, hint: str) -> Component:
    box: Component = dmc.TextInput(
        id=filter_id("q"),
        value=query["q"],
        placeholder=hint,
        debounce=350,
        className="search",
        **labelled("Search"),
    )
    return box


def choice(name: str, label: str, options: Sequence[tuple[str, str]], query: Query) -> Component:
    """A select of (value, label) that sets the address's parameter `name`."""
    select: Component = dmc.Select(
        id=filter_id(name),
        data=[{"value": value, "label": text} for value, text in options],
        value=query[name] or None,
        placeholder=label,
        clearable=True,
        className="choice",
        **labelled(label),
    )
    return select


def missing_item(what: str, item: str, parent: str) -> Component:
    return html.Div(
        [
            html.H1(f"No such {what}"),
            html.P(["There is no ", html.Code(item), ". ", dcc.Link("Back to the list", parent)]),
        ],
        className="empty",
    )


def card(title: Content, children: Content) -> Component:
    return html.Section([html.H2(title), html.Div(children)], className="card")


def empty(title: str, explanation: Content, command: str | None = None) -> Component:
    """Says which asset has no rows, and what fills it."""
    parts: list[Component] = [html.H2(title), html.P(explanation)]
    if command is not None:
        parts.append(html.Pre(html.Code(command)))
    return html.Div(parts, className="empty")


def failure(title: str, explanation: str) -> Component:
    alert: Component = dmc.Alert(explanation, title=title, color="red", variant="light", className="failure")
    return alert


def no_page(path: str) -> Component:
    return html.Div(
        [
            html.H1("No such page"),
            html.P(["There is nothing at ", html.Code(path), ". ", dcc.Link("To the overview", "/")]),
        ],
        className="empty",
    )


def no_match(path: str) -> Component:
    return html.Div(
        [html.H2("Nothing matches"), html.P(["No row passes these filters. ", dcc.Link("Clear the filters", path)])],
        className="empty",
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; `sort` is the parameter's value for sorting by it, `style` is lead, number or nothing."""

    title: str
    sort: str | None = None
    style: str = ""


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Content]], query: Query | None = None, order: str = ""
) -> Component:
    """Sortable with a query, whose missing `sort` means `order`. On a narrow screen each row becomes a block."""
    head = html.Tr([_heading(column, query, order) for column in columns])
    body = [html.Tr([_cell(column, value) for column, value in zip(columns, row, strict=True)]) for row in rows]
    return html.Div(html.Table([html.Thead(head), html.Tbody(body)]), className="table")


def _cell(column: Column, value: Content) -> Component:
    return html.Td(value, className=column.style or None, **_data_label(column.title))


def _heading(column: Column, query: Query | None, order: str) -> Component:
    attributes: Attributes = {"className": column.style or None, "scope": "col"}
    if column.sort is None or query is None:
        return html.Th(column.title, **attributes)
    sort = query["sort"] or order
    descending, ascending = sort == f"-{column.sort}", sort == column.sort
    if descending or ascending:
        attributes["aria-sort"] = "descending" if descending else "ascending"
    target = query.link(sort=column.sort if descending else f"-{column.sort}", page=None)
    return html.Th(dcc.Link(column.title, target, className="sort"), **attributes)


def pager(listing: Listing[Any], query: Query, one: str) -> Component:
    """How many there are, and the way to the other pages."""
    first = (listing.page - 1) * PER_PAGE + 1
    last = min(listing.total, listing.page * PER_PAGE)
    shown = f"{first:,}–{last:,} of {wording.plural(listing.total, one)}"
    links = [
        _page_link("Previous", listing.page - 1, listing, query),
        _page_link("Next", listing.page + 1, listing, query),
    ]
    return html.Nav([html.Span(shown), html.Span(links)], className="pager", **labelled("Pages"))


def _page_link(label: str, page: int, listing: Listing[Any], query: Query) -> Component:
    if not 1 <= page <= listing.pages:
        return html.Span(label, className="off")
    return dcc.Link(label, query.link(page=page if page > 1 else None))
