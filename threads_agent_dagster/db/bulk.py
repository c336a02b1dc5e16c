"""Many rows in one statement: they travel as one JSON parameter, so that parsing does not grow with their number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import TextClause, text


def insert_rows(table: str, columns: Sequence[str], then: str = "") -> TextClause:
    """INSERT of the rows in the parameter `rows` (see `parameter`), then e.g. ON CONFLICT … RETURNING …"""
    names = ", ".join(f'"{column}"' for column in columns)
    source = f"jsonb_populate_recordset(NULL::{table}, cast(:rows AS jsonb))"
    return text(f"INSERT INTO {table} ({names}) SELECT {names} FROM {source} {then}")


def replaced(columns: Sequence[str]) -> str:
    """The SET list of an upsert that replaces `columns`."""
    return ", ".join(f'"{column}" = excluded."{column}"' for column in columns)


def parameter(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The rows as the parameter of `insert_rows`; dates and times as ISO 8601, NaN is refused."""
    return {"rows": json.dumps([dict(row) for row in rows], default=_iso, allow_nan=False)}


def _iso(value: object) -> str:
    if isinstance(value, date):  # datetime is one too
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not travel as JSON")
