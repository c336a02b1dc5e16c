"""Assembles the dashboard: Dash on FastAPI, its callbacks, routes and security headers."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update, set_props
from dash.backends._fastapi import FastAPIDashServer
from dash.development.base_component import Component
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dash_app import data, downloads, frame, ids
from dash_app.address import Query
from dash_app.components import Provenance, failure, no_page
from dash_app.headers import SecurityHeaders
from dash_app.pages import routes
from dash_app.pages.page import Shown, View
from threads_agent_dagster.errors import ConfigurationError, Unavailable
from threads_agent_dagster.settings import Settings

DOWN = "down"
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class _Backend(FastAPIDashServer):
    """Dash on FastAPI without the websocket, which every open page would hold though no callback speaks through it."""

    websocket_capability = False

    @staticmethod
    def create_app(name: str = "__main__", config: dict[str, Any] | None = None) -> FastAPI:  # noqa: ARG004
        return FastAPI(openapi_url=None)  # its documentation pages load scripts from another host


def create_app(settings: Settings, engine: Engine) -> Dash:
    """The dashboard; its `server` is the ASGI application to serve."""
    dagster_url = settings.service_url("dagster")
    app = Dash(
        __name__,
        backend=_Backend,
        assets_folder="static",
        include_assets_files=False,  # the index names them
        index_string=frame.INDEX,
        title=frame.BRAND,
        update_title=None,  # type: ignore[arg-type]  # None: leave the title alone while reading
        suppress_callback_exceptions=True,  # a page's controls exist only while it is shown
        health_endpoint="livez",
        enable_mcp=False,
        on_error=_log_and_raise,
    )
    app.layout = frame.layout(dagster_url)
    _register_reading(app, engine, Provenance(dagster_url))
    _register_browser(app)
    downloads.register(app.server, engine)
    _protect(app.server, settings, app.csp_hashes())
    return app


def _protect(server: FastAPI, settings: Settings, script_hashes: Sequence[str]) -> None:
    server.add_middleware(SecurityHeaders, script_hashes=script_hashes)
    if settings.host in LOOPBACK:
        # Without it a page anywhere on the web could read the dashboard through a name that resolves to this machine.
        server.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))


def _log_and_raise(error: Exception) -> None:
    logger.error("a callback failed", exc_info=error)
    raise error


def _in_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Awaitable[Result]]:
    """Reads block; on the event loop they would block every other reader, and the liveness probe too."""

    @functools.wraps(function)
    async def awaited(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return await asyncio.to_thread(function, *args, **kwargs)

    return awaited


def _register_reading(app: Dash, engine: Engine, provenance: Provenance) -> None:
    @app.callback(
        Output(ids.PULSE, "data"),
        Output(ids.HEALED, "data"),
        Output(ids.OUTAGE, "children"),
        Input(ids.TICK, "data"),
        State(ids.PULSE, "data"),
    )
    @_in_thread
    def beat(ticks: int | None, previous: str | None) -> tuple[object, object, object]:
        current = _pulse(engine)
        if current == previous:
            return no_update, no_update, no_update
        healed = ticks if previous == DOWN else no_update
        return current, healed, frame.outage() if current == DOWN else None

    @app.callback(
        Output(ids.CONTROLS, "children"),
        Input(ids.URL, "pathname"),
        Input(ids.HEALED, "data"),
        State(ids.URL, "search"),
    )
    @_in_thread
    def controls(path: str, _healed: object, search: str) -> Component | None:
        page, item = routes.find(path)
        if page is None or page.controls is None or item is not None:
            return None
        return _controls(page.controls, View(engine, provenance, Query.parse(search)))

    @app.callback(
        Output(ids.HEADING, "children"),
        Output(ids.BODY, "children"),
        Output(ids.TITLE, "data"),
        Input(ids.URL, "pathname"),
        Input(ids.URL, "search"),
        Input(ids.HEALED, "data"),
        Input(ids.PULSE, "data"),
    )
    @_in_thread
    def content(path: str, search: str, _healed: object, pulse: str | None) -> tuple[object, object, object]:
        page, item = routes.find(path)
        moved_only = set(ctx.triggered_prop_ids.values()) == {ids.PULSE}
        if moved_only and (pulse == DOWN or page is None or not page.live):
            return no_update, no_update, no_update
        if page is None:
            return [], no_page(path), "Not found"
        show = page.show if item is None or page.detail is None else page.detail
        shown = _show(show, View(engine, provenance, Query.parse(search), item))
        return shown.heading, shown.children, shown.title


def _pulse(engine: Engine) -> str:
    try:
        return data.pulse(engine)
    except (Unavailable, ConfigurationError) as error:
        logger.warning("%s", error)
        return DOWN


def _controls(controls: Callable[[View], Component], view: View) -> Component | None:
    """Nothing while the database is away; the content says so."""
    try:
        return controls(view)
    except (Unavailable, ConfigurationError):
        return None


def _show(show: Callable[[View], Shown], view: View) -> Shown:
    """A failed read is shown as one; the next beat that succeeds draws the page again."""
    try:
        return show(view)
    except (Unavailable, ConfigurationError) as error:
        set_props(ids.PULSE, {"data": DOWN})
        return Shown("Not available", [], [failure("This page could not be read", f"{error}.")])


def _register_browser(app: Dash) -> None:
    in_browser: Callable[..., None] = app.clientside_callback
    in_browser(ClientsideFunction("dashboard", "title"), Input(ids.TITLE, "data"))
    in_browser(ClientsideFunction("dashboard", "tick"), Output(ids.TICK, "data"), Input(ids.CLOCK, "n_intervals"))
    in_browser(
        ClientsideFunction("dashboard", "filters"),
        Output(ids.URL, "search"),
        Output(ids.filter_id(ALL), "value"),
        Input(ids.URL, "search"),
        Input(ids.filter_id(ALL), "value"),
        State(ids.filter_id(ALL), "id"),
        prevent_initial_call=True,
    )
