"""The same rows as a table's, as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from sqlalchemy import Engine
from starlette.responses import Response

from dash_app import data
from dash_app.address import Query
from dash_app.rows import ListedAchievement
from threads_agent_dagster.domain.portfolio import assemble
from threads_agent_dagster.domain.portfolio_csv import BYTE_ORDER_MARK, FORMULA_STARTS
from threads_agent_dagster.domain.portfolio_files import Format, write
from threads_agent_dagster.errors import Unavailable

NOTHING_READY = (
    "No achievement is marked ready for the portfolio, so there is nothing to export. "
    "Mark some with PUT /achievements/{id} (portfolio_ready), or export all: threads-agent portfolio export --all"
)
ONLY_MINE = "\nOnly your own were looked at (threads-agent me show); everyone's: /portfolio/{form}?who=everyone"
HEADER = (
    "id",
    "title",
    "category",
    "impact_score",
    "complexity_score",
    "completed_at",
    "source_type",
    "repository",
    "author",
    "scorer_version",
    "run_id",
)

EXPERIMENTS = (
    "id", "name", "status", "started_at", "ended_at", "verdict", "reason", "rule", "variant_id", "gate", "n", "test",
    "p_value", "p_value_sequential", "srm_p", "promoted", "plan_hash", "input_version", "sha256", "computed_at",
    "run_id", "code_version",
)  # fmt: skip

Cell = str | int | float | datetime | None


def register(server: FastAPI, engine: Engine) -> None:
    @server.get("/achievements.csv")
    def achievements(request: Request) -> Response:
        rows = data.export_achievements(engine, Query.parse(request.url.query).values)
        return _download("achievements.csv", lines(HEADER, map(_row, rows)))

    @server.get("/experiments.csv")
    def experiments_csv(request: Request) -> Response:
        rows = data.export_experiments(engine, Query.parse(request.url.query).values)
        return _download("experiments.csv", lines(EXPERIMENTS, ([row[name] for name in EXPERIMENTS] for row in rows)))

    @server.get("/experiments.json")
    def experiments_json(request: Request) -> Response:
        rows = data.export_experiments(engine, Query.parse(request.url.query).values)
        kept = ({name: row[name] for name in (*EXPERIMENTS, "plan")} for row in rows)
        return _download("experiments.json", json_lines(kept), "application/json")

    @server.get("/portfolio/{form}")
    def portfolio(form: Format, request: Request) -> Response:
        everyone = Query.parse(request.url.query).everyone
        try:
            rows, me = data.export_portfolio(engine, everyone=everyone), data.me(engine)
        except Unavailable as error:
            return PlainTextResponse(f"{error}; try again", status_code=503)
        if not rows:
            only_mine = ONLY_MINE.format(form=form) if me and not everyone else ""
            return PlainTextResponse(NOTHING_READY + only_mine, status_code=404)
        made = write(form, assemble(rows, datetime.now(UTC)))
        disposition = {"Content-Disposition": f'attachment; filename="{made.name}"'}
        return Response(made.body, media_type=made.media_type, headers=disposition)


def _download(name: str, content: Iterator[str], media_type: str = "text/csv; charset=utf-8") -> Response:
    """Reads the first part before answering, so that a database that is away is a 503 and not an empty file."""
    try:
        first = next(content)
    except Unavailable as error:
        return PlainTextResponse(f"{error}; try again", status_code=503)
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_chain(first, content), media_type=media_type, headers=disposition)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def lines(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """CSV by RFC 4180; the first part holds the header and the first row."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write(BYTE_ORDER_MARK)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def json_lines(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """A JSON array, one row a line."""
    separator = "["
    for row in rows:
        yield separator + json.dumps(row, ensure_ascii=False, default=_moment)
        separator = ",\n"
    yield "[]" if separator == "[" else "]"


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")


def _cell(value: Cell) -> str | int | float | None:
    """Text that a spreadsheet would run as a formula is marked as text by an apostrophe."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _row(item: ListedAchievement) -> list[Cell]:
    return [
        item.id,
        item.title,
        item.category,
        item.impact_score,
        item.complexity_score,
        item.completed_at,
        item.source_type,
        item.repository,
        item.author,
        item.origin.scorer_version,
        item.origin.run_id,
    ]
