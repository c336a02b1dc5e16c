"""The chain of vectors, as a run executes it."""

from __future__ import annotations

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from assets.embeddings import achievement_embeddings
from assets.themes import achievement_themes
from resources.database import Database
from sensors.pending import CHAINS, UNPARTITIONED


def test_vectors_and_themes_are_made_in_one_run(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    titles = [f"{what}, part {part}" for what in ("Migrate the orders", "Log in by passkey") for part in range(4)]
    with engine.begin() as connection:
        statement = text("INSERT INTO achievements (title, category, source_type) VALUES (:title, 'feature', 'git')")
        connection.execute(statement, [{"title": title} for title in titles])
    made = dg.materialize([achievement_embeddings, achievement_themes], resources={"database": Database()})
    assert made.success
    assert all(check.passed for check in made.get_asset_check_evaluations())
    rows = {
        event.asset_key.to_user_string(): event.materialization.metadata["dagster/row_count"].value
        for event in made.get_asset_materialization_events()
        if event.asset_key
    }
    assert rows == {"achievement_embeddings": 8, "achievement_themes": 2}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pending WHERE asset LIKE 'achievement\\_%'")).scalar() == 0


def test_the_chain_of_vectors_holds_nothing_that_others_wait_for() -> None:
    assert CHAINS["vectors_chain"] == ("achievement_embeddings", "achievement_themes")
    assert "vectors_chain" in UNPARTITIONED
    assert all(
        set(CHAINS["vectors_chain"]).isdisjoint(others) for name, others in CHAINS.items() if name != "vectors_chain"
    )
