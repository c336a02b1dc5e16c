"""Lists in pages: by keyset, so that a page costs the same wherever it is, or by offset for those who count pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, or_


@dataclass(frozen=True, slots=True)
class Order:
    """By `column`, then by `key`, which is unique. A value that is missing counts as the largest."""

    column: ColumnElement[Any]
    key: ColumnElement[Any]
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` rows: those after the row with these (column, key) values, or those after `offset` rows."""

    limit: int
    after: tuple[Any, Any] | None = None
    offset: int = 0


def _beyond(order: Order, value: Any, key: Any) -> ColumnElement[bool]:
    column, later = order.column, (order.key < key if order.descending else order.key > key)
    if value is None:
        return or_(and_(column.is_(None), later), column.is_not(None)) if order.descending else column.is_(None) & later
    if order.descending:  # twice the same bound: an index starts at the plain one, and would read all above the other
        return and_(column <= value, or_(column < value, later))
    return or_(column > value, column.is_(None), and_(column == value, later))


def read(connection: Connection, rows: Select[Any], order: Order, window: Window) -> Sequence[RowMapping]:
    """The window's rows and one more when there are further ones."""
    return connection.execute(paged(rows, order, window)).mappings().all()


def paged(rows: Select[Any], order: Order, window: Window) -> Select[Any]:
    """The statement of `read`."""
    columns = (order.column, order.key)
    rows = rows.order_by(*(column.desc() if order.descending else column.asc() for column in columns))
    if window.after is not None:
        rows = rows.where(_beyond(order, *window.after))
    return rows.limit(window.limit + 1).offset(window.offset)
