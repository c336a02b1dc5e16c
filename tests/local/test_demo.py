"""The demo data while PostgreSQL comes and goes."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.local import demo
from threads_agent_dagster.work import achievements
from threads_agent_dagster.work.drain import Origin, drain

CUT_ONCE = text("""
CREATE SEQUENCE cuts;
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('cuts') = 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;  -- no rollback takes it back
    RETURN new;
END $$;
CREATE TRIGGER cut BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION cut();
""")
POSTS = text("SELECT count(*), count(DISTINCT payload ->> 'topic') FROM tasks")


def test_what_a_cut_connection_breaks_off_is_done_again_and_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PAUSE_SECONDS", 0.0)
    beside, said = make_engine(database_url), list[str]()

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("scoring achievements"):
            job = achievements.job()
            drain(beside, job, None, Origin("run-1", job.code_version))

    with beside.begin() as connection:
        connection.execute(CUT_ONCE)
    demo.load(database_url, say)
    demo.load(database_url, say)
    assert [line for line in said if "broke off" in line] == [
        "PostgreSQL broke off the demo data (AdminShutdown); trying again"
    ]
    assert said[-1] == "the demo data is there already"
    with beside.begin() as connection:
        asked, topics = connection.execute(POSTS).one()
    beside.dispose()
    assert asked == topics == demo.POSTS


def test_a_database_that_stays_away_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(demo, "PATIENCE_SECONDS", 0)
    said: list[str] = []
    demo.load("postgresql://nobody@127.0.0.1:9/nothing", said.append)
    assert said[-1].startswith("PostgreSQL stayed away, so the demo data is incomplete")
