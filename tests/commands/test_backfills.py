"""`threads-agent backfill`: what it says before anything starts, and what it refuses. The rest runs in tests/e2e."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from threads_agent_dagster.cli import assemble
from threads_agent_dagster.errors import Conflict, InvalidInput, NotFound

ARC = "emotion_trajectories"


@pytest.fixture(autouse=True)
def _two_posts(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO posts (persona_id, hook, body, ts) "
                "VALUES ('default', 'One', '', '2026-01-05'), ('default', 'Two', '', '2026-01-09')"
            )
        )


def command(*arguments: str) -> str:
    result = CliRunner().invoke(assemble(["backfill"]), ["backfill", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_plan_is_for_people_and_for_programs() -> None:
    assert command("plan", ARC).splitlines()[1:] == [
        "partitions  5 (2026-01-05 to 2026-01-09), 2 with such rows",
        "rows        2",
        "            2 missing",
        "tokens      0",
        "money       0.00 USD",
        "minutes     unknown: no rows of it were made here yet",
    ]
    figures = json.loads(command("plan", ARC, "--to", "2026-01-08", "--json"))
    assert (figures["rows"], figures["partitions"], figures["last"]) == (1, 1, "2026-01-05")
    assert figures["minutes"] is None


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(NotFound, match="no table 'dashboard_metrics' can be backfilled; there are achievement"):
        command("plan", "dashboard_metrics")
    with pytest.raises(InvalidInput, match="--from: 2026-01-09 is after 2026-01-05"):
        command("plan", ARC, "--from", "2026-01-09", "--to", "2026-01-05")


@pytest.mark.parametrize("arguments", [("run", ARC, "--yes"), ("cancel", "no-such-run")])
def test_without_a_platform_it_says_how_to_start_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(Conflict, match="start it with `threads-agent up`"):
        command(*arguments, "--home", str(tmp_path))
