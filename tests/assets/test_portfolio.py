"""The sealed portfolio and an export of it say the same."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from assets.portfolio import portfolio
from resources.database import Database
from threads_agent_dagster.db.portfolio import Selection
from threads_agent_dagster.work.portfolio import export


def test_the_hashes_are_those_of_the_export(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with engine.begin() as connection:
        statement = """INSERT INTO achievements (title, category, source_type, portfolio_ready, display_priority)
            SELECT 'Part ' || n, 'feature', 'manual', n <> 2, 10 - n FROM generate_series(1, 4) AS n"""
        connection.execute(text(statement))
    for _ in range(2):
        made = dg.materialize([portfolio], resources={"database": Database()})
        assert all(one.passed for one in made.get_asset_check_evaluations())
    sheet = export(engine, "csv", Selection(), datetime.now(UTC)).body.decode("utf-8-sig")
    exported = list(csv.DictReader(io.StringIO(sheet)))
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT achievement_id, content_sha256 FROM portfolio ORDER BY position")).all()
    assert [(int(one["id"]), one["content_sha256"]) for one in exported] == [tuple(row) for row in rows]
    (event,) = made.get_asset_materialization_events()
    assert event.materialization.metadata["portfolio_sha256"].value == exported[0]["portfolio_sha256"]
    assert event.materialization.metadata["dagster/row_count"].value == 3


def test_nothing_ready_is_an_empty_portfolio(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    made = dg.materialize([portfolio], resources={"database": Database()})
    assert made.success
    assert all(one.passed for one in made.get_asset_check_evaluations())
