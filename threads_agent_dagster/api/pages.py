"""Pages of a list: `limit` and an opaque cursor, or `page` and `per_page`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy import BigInteger, ColumnElement, RowMapping

from threads_agent_dagster.api.bodies import BIGINT, INTEGER, Page, storable_text
from threads_agent_dagster.db.pages import Order, Window
from threads_agent_dagster.errors import InvalidInput

MAX_PER_PAGE = 100
MAX_PAGE = 100_000

Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of the list the caller wants."""

    per_page: int
    page: int
    cursor: str | None

    def window(self, order: Order) -> Window:
        """Raises InvalidInput for a cursor that was not made by this list in this order."""
        if self.cursor is None:
            return Window(self.per_page, offset=(self.page - 1) * self.per_page)
        return Window(self.per_page, after=_decode(self.cursor, order))


async def _paging(
    per_page: Annotated[int, Query(ge=1, le=MAX_PER_PAGE)] = 20,
    page: Annotated[int, Query(ge=1, le=MAX_PAGE, description="not together with a cursor")] = 1,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next` of the page before")] = None,
) -> Paging:
    if cursor is not None and page != 1:
        raise InvalidInput("a page number and a cursor exclude each other", field="page")
    return Paging(per_page, page, cursor)


PagingDep = Annotated[Paging, Depends(_paging)]


def _name(order: Order) -> str:
    return f"{'-' if order.descending else ''}{order.column}"


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _encode(order: Order, row: RowMapping) -> str:
    content = [_name(order), _plain(row[order.column]), row[order.key]]
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _typed(column: ColumnElement[Any], value: Any) -> Any:
    """`value` as the column holds it. Raises ValueError."""
    wanted = column.type.python_type
    if wanted is datetime and isinstance(value, str):
        value = datetime.fromisoformat(value)
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
    if wanted is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ValueError("of another type")
    if isinstance(value, int) and abs(value) > (BIGINT if isinstance(column.type, BigInteger) else INTEGER):
        raise ValueError("too large")
    return storable_text(value) if isinstance(value, str) else value


def _decode(cursor: str, order: Order) -> tuple[Any, Any]:
    try:
        content = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        name, value, key = content
        if name != _name(order):
            raise ValueError("of another list")
        return (None if value is None else _typed(order.column, value)), _typed(order.key, key)
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise InvalidInput("this cursor is not one of this list in this order", field="cursor") from None


def page_of(item: type[Item], rows: Sequence[RowMapping], order: Order, window: Window) -> Page[Item]:
    """The page that `db.pages.read` found."""
    shown = rows[: window.limit]
    further = len(rows) > window.limit
    items = [item.model_validate(dict(row)) for row in shown]
    return Page(items=items, next=_encode(order, shown[-1]) if further else None)
