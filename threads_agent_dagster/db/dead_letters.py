"""Rows that were given up: dead until they are redriven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, select

from threads_agent_dagster.db import pages
from threads_agent_dagster.db.pages import Order, Window
from threads_agent_dagster.db.tables import pending

NEWEST_FIRST: Final = Order(pending.c.dead_at, pending.c.change)
_COLUMNS = ("asset", "key", "day", "attempts", "error", "dead_at", "change")


def read(connection: Connection, asset: str | None, key: str | None, window: Window) -> Sequence[RowMapping]:
    """The window's dead rows and one more when there are further ones; `asset` and `key` narrow them down."""
    rows = select(*(pending.c[name] for name in _COLUMNS)).where(pending.c.dead_at.is_not(None))
    wanted = {"asset": asset, "key": key}
    rows = rows.where(*(pending.c[name] == value for name, value in wanted.items() if value is not None))
    return pages.read(connection, rows, NEWEST_FIRST, window)
