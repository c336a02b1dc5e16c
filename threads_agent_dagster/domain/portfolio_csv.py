"""A portfolio as CSV (RFC 4180), a row an achievement, and back again: a row carries its own evidence."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from threads_agent_dagster.domain.portfolio import Item, Portfolio
from threads_agent_dagster.domain.portfolio_manifest import item_documents, portfolio_sha256
from threads_agent_dagster.errors import InvalidInput

BYTE_ORDER_MARK: Final = "\ufeff"  # without it Excel takes UTF-8 for the local code page
# What a spreadsheet may take for a formula is marked as text by an apostrophe; one that was there is doubled.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "'")
AS_JSON: Final = json.JSONEncoder(allow_nan=False)
COLUMNS: Final = (*Item.__dataclass_fields__, "content_sha256", "portfolio_sha256")

_READ: Final[Mapping[str, Callable[[str], object]]] = {
    "id": int,
    "impact_score": float,
    "complexity_score": float,
    "time_saved_hours": float,
    "performance_improvement_pct": float,
    "claims": json.loads,
    "skills": json.loads,
    "impact_rules": json.loads,
    "complexity_rules": json.loads,
}


def to_csv(portfolio: Portfolio) -> bytes:
    """Each row ends with its hash and with the hash over all rows."""
    documents = item_documents(portfolio)
    whole = portfolio_sha256(document["content_sha256"] for document in documents)
    buffer = io.StringIO()
    buffer.write(BYTE_ORDER_MARK)
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in document.values()] + [whole] for document in documents)
    return buffer.getvalue().encode()


def _cell(value: object) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else AS_JSON.encode(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def from_csv(body: bytes) -> tuple[list[dict[str, Any]], str]:
    """The items' documents and the hash over all of them. Raises InvalidInput that names the line."""
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header, *rows = list(reader)
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise InvalidInput("it is not CSV in UTF-8") from None
    if tuple(header) != COLUMNS or not all(rows):
        raise InvalidInput(f"its columns are not {', '.join(COLUMNS)}, or a row is empty")
    wholes = {row[-1] for row in rows}
    return [_document(row, line) for line, row in enumerate(rows, start=2)], wholes.pop() if len(wholes) == 1 else ""


def _document(row: Sequence[str], line: int) -> dict[str, Any]:
    try:
        values = {name: _value(name, cell) for name, cell in zip(COLUMNS, row, strict=True)}
    except (ValueError, RecursionError):
        raise InvalidInput("it does not hold the values of a row", field=f"row {line}") from None
    del values["portfolio_sha256"]
    return values


def _value(name: str, cell: str) -> object:
    return _READ.get(name, str)(cell.removeprefix("'")) if cell else None
