"""A portfolio as CSV (RFC 4180), a row an achievement, and back again: a row carries its own evidence."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from threads_agent_dagster.domain.portfolio import Item, Portfolio
from threads_agent_dagster.domain.portfolio_manifest import item_documents, portfolio_sha256
from threads_agent_dagster.errors import InvalidInput

BYTE_ORDER_MARK: Final = "\ufeff"  # without it Excel takes UTF-8 for the local code page
# What a spreadsheet may take for a formula is marked as text by an apostrophe; one that was there is doubled.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "'", "\t", "\r", "\n")
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
    lines = [",".join([*map(_cell, document.values()), _cell(whole)]) for document in documents]
    return "\r\n".join([BYTE_ORDER_MARK + ",".join(map(_cell, COLUMNS)), *lines, ""]).encode()


def _cell(value: object) -> str:
    """Quoted unless it is a number: `csv.writer`, which goes by the character, took a quarter of an export."""
    if value is None:
        return '""'
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else to_json(value).decode()
    quoted = text.replace('"', '""')
    return f'"\'{quoted}"' if text.startswith(FORMULA_STARTS) else f'"{quoted}"'


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
