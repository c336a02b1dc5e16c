"""Statistics are folded from what changed and equal a count of the whole history, whatever comes in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from threads_agent_dagster.work.drain import Origin, drain
from threads_agent_dagster.work.experiments import job

FIGURES = "variant_id, impressions, successes, steered_impressions, steered_successes, guardrails, last_used"
COUNTED = """
    SELECT variants.variant_id, coalesce(sum(impressions), 0), coalesce(sum(successes), 0),
        coalesce(sum(impressions) FILTER (WHERE steered), 0), coalesce(sum(successes) FILTER (WHERE steered), 0),
        coalesce(nullif(jsonb_strip_nulls(jsonb_build_object('unfollows',
            sum((guardrails->>'unfollows')::bigint) FILTER (WHERE NOT steered))), '{}'), '{}'), max(observed_at)
    FROM variants LEFT JOIN observations USING (variant_id) GROUP BY 1 ORDER BY 1"""
OBSERVE = text("""
    INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at, steered, guardrails)
    VALUES (:id, :variant, :shown, :won, timestamptz '2026-01-01' + make_interval(hours => :hour), :steered,
        CASE WHEN :harm > 0 THEN jsonb_build_object('unfollows', cast(:harm AS int)) END)
""")


def _execute(engine: Engine, statement: Any, **parameters: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement) if isinstance(statement, str) else statement, parameters)


def _rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def _drain(engine: Engine, version: str = "2") -> None:
    drain(engine, job(version), None, Origin("run-1", version))


def _assert_counted(engine: Engine) -> None:
    assert _rows(engine, f"SELECT {FIGURES} FROM variant_performance ORDER BY 1") == _rows(engine, COUNTED)
    assert _rows(engine, "SELECT count(*) FROM observation_deltas") == [(0,)]


EVENT = st.fixed_dictionaries(
    {
        "variant": st.sampled_from(["a", "b"]),
        "shown": st.integers(5, 9),
        "won": st.integers(0, 5),
        "hour": st.integers(0, 99),
        "steered": st.booleans(),
        "harm": st.integers(0, 3),
    }
)
STEPS = st.lists(EVENT | st.sampled_from(["drain", "take back", "other version"]), max_size=12)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_folding_equals_counting_in_any_order(engine: Engine, steps: list[Any]) -> None:
    _execute(engine, "DELETE FROM variants")
    _execute(engine, "INSERT INTO variants (variant_id) VALUES ('a'), ('b')")
    for number, step in enumerate(steps):
        if isinstance(step, dict):
            _execute(engine, OBSERVE, id=str(number), **step)
        elif step == "take back":
            _execute(engine, "DELETE FROM observations WHERE id = (SELECT max(id) FROM observations)")
        else:
            _drain(engine, "2" if step == "drain" else "3")
    _drain(engine)
    _assert_counted(engine)


def test_a_refresh_reads_what_changed_and_no_history(engine: Engine) -> None:
    _execute(engine, "INSERT INTO variants (variant_id) VALUES ('a')")
    _execute(
        engine,
        """INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at)
           SELECT 'old' || n, 'a', 10, 1, now() FROM generate_series(1, 5000) AS n""",
    )
    _drain(engine)
    before = _read_of_history(engine)
    _execute(engine, OBSERVE, id="new", variant="a", shown=9, won=4, hour=0, steered=False, harm=1)
    _drain(engine)
    assert _read_of_history(engine) == before
    _assert_counted(engine)


def _read_of_history(engine: Engine) -> int:
    """Rows of `observations` that any statement read so far, as PostgreSQL counts them."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.commit()
        statement = """SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
                           WHERE relname = 'observations' AND indexrelname = 'idx_observations_variant')
                       FROM pg_stat_user_tables WHERE relname = 'observations'"""
        return int(connection.execute(text(statement)).scalar_one())


def test_a_recount_trusts_nothing(engine: Engine) -> None:
    _execute(engine, "INSERT INTO variants (variant_id) VALUES ('a')")
    _execute(engine, OBSERVE, id="1", variant="a", shown=9, won=4, hour=0, steered=False, harm=0)
    _drain(engine)
    _execute(engine, "UPDATE variant_performance SET impressions = 999")
    _execute(engine, "UPDATE variants SET hook = 'new words'")
    drain(engine, job(recount=True), None, Origin("run-1", "2"))
    _assert_counted(engine)


def test_a_variant_that_is_gone_leaves_nothing(engine: Engine) -> None:
    _execute(engine, "INSERT INTO variants (variant_id) VALUES ('a')")
    _execute(engine, OBSERVE, id="1", variant="a", shown=9, won=4, hour=0, steered=False, harm=0)
    _execute(engine, "DELETE FROM variants")
    _drain(engine)
    assert _rows(engine, "SELECT count(*) FROM variant_performance") == [(0,)]
    assert _rows(engine, "SELECT count(*) FROM observation_deltas") == [(0,)]


@pytest.mark.parametrize("column", ["impressions", "successes"])
def test_what_nobody_saw_is_null_not_zero(engine: Engine, column: str) -> None:
    _execute(engine, "INSERT INTO variants (variant_id) VALUES ('a')")
    _drain(engine)
    assert _rows(engine, f"SELECT {column}, mean_performance, last_used FROM variant_performance") == [(0, None, None)]
