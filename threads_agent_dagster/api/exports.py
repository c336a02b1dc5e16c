"""Tables as files: of any length, from one query, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from fastapi.responses import StreamingResponse
from sqlalchemy import Connection, Engine, RowMapping

from threads_agent_dagster.api.bodies import Out
from threads_agent_dagster.domain.portfolio_csv import BYTE_ORDER_MARK, FORMULA_STARTS

Format = Literal["csv", "json"]
Read = Callable[[Connection], Iterable[RowMapping]]


def streamed(
    engine: Engine, read: Read, model: type[Out], columns: Sequence[str], name: str, format: Format
) -> StreamingResponse:
    """What `read` finds as an attachment: `name.csv` of some columns, or `name.json`, an array of the models."""
    parts = _parts(engine, read, model, columns, format)
    first = next(parts)  # a database that is away is a 503 and not half a file
    media_type = "application/json" if format == "json" else "text/csv; charset=utf-8"
    return StreamingResponse(
        itertools.chain([first], parts), media_type=media_type, headers=attached(f"{name}.{format}")
    )


def _parts(engine: Engine, read: Read, model: type[Out], columns: Sequence[str], format: Format) -> Iterator[str]:
    with engine.connect() as connection:
        rows = (model.model_validate(dict(row)) for row in read(connection))
        yield from csv_lines(rows, columns) if format == "csv" else _json_lines(rows)


def _json_lines(rows: Iterable[Out]) -> Iterator[str]:
    separator = "["
    for row in rows:
        yield f"{separator}{row.model_dump_json()}"
        separator = ",\n"
    yield "[]" if separator == "[" else "]"


def csv_lines(rows: Iterable[Out], columns: Sequence[str]) -> Iterator[str]:
    """The header, then a line each."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    yield BYTE_ORDER_MARK + buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        values = row.model_dump(mode="json")
        writer.writerow([_cell(values[name]) for name in columns])
        yield buffer.getvalue()


def _cell(value: object) -> object:
    """Text that a spreadsheet may take for a formula is marked as text by an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def attached(name: str) -> dict[str, str]:
    """Headers of a download."""
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
