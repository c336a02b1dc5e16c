"""Each expectation fires when the table is broken, and only then."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from assets.quality import ACHIEVEMENTS
from assets.validating import SAMPLES, Expected, Suite, validate
from sensors.pending import CHAINS
from sensors.schedules import quality_schedule
from threads_agent_dagster.definitions import defs

SEED = """
INSERT INTO achievements (id, title, category, source_type, source_key, source_url, repository, merge_sha, started_at,
    completed_at, impact_score, complexity_score, time_saved_hours, scorer_version)
SELECT n, 'Ship part ' || n, 'feature', 'git', 'git:' || n, 'https://example.org/' || n, 'acme/app',
    lpad(to_hex(n), 40, '0'), '2026-01-01', '2026-01-02', n, n, n, '1' FROM generate_series(1, 20) AS n
"""
BREAKS = {
    "titles_say_something": "UPDATE achievements SET title = '?!' WHERE id = 7",
    "impact_scores_are_percentages": """
        ALTER TABLE achievements DROP CONSTRAINT chk_achievements_impact_score;
        UPDATE achievements SET impact_score = 101 WHERE id = 7""",
    "nothing_ends_before_it_starts": """
        ALTER TABLE achievements DROP CONSTRAINT chk_achievements_chronology;
        UPDATE achievements SET completed_at = '2025-01-01' WHERE id = 7""",
    "one_achievement_per_merge": """
        DROP INDEX idx_achievements_merge_sha;
        UPDATE achievements SET merge_sha = lpad('1', 40, '0') WHERE id = 7""",
    "merges_are_named_by_git": "UPDATE achievements SET merge_sha = 'HEAD' WHERE id = 7",
    "links_lead_to_the_web": "UPDATE achievements SET source_url = 'javascript:alert(1)' WHERE id = 7",
    "saved_hours_are_plausible": "UPDATE achievements SET time_saved_hours = 312648 WHERE id = 7",
    "all_scores_are_of_one_version": "UPDATE achievements SET scorer_version = '0' WHERE id = 7",
    "nothing_is_told_twice": "UPDATE achievements SET title = 'Ship part 1' WHERE id = 7",
}


def _do(engine: Engine, statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements.split(";"):
            connection.exec_driver_sql(statement)


def _results(suite: Suite, database_url: str) -> dict[str, dg.AssetCheckResult]:
    return {str(one.check_name): one for one in validate(suite, database_url)}


def test_every_expectation_has_a_way_to_break_it() -> None:
    assert [one.name for one in ACHIEVEMENTS.expectations] == list(BREAKS)


def test_sound_and_empty_tables_pass(engine: Engine, database_url: str) -> None:
    for statement in ("SELECT 1", SEED, "UPDATE achievements SET title = '?!', deleted_at = now() WHERE id = 7"):
        _do(engine, statement)
        failed = [name for name, one in _results(ACHIEVEMENTS, database_url).items() if not one.passed]
        assert failed == []


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_table_is_seen(engine: Engine, database_url: str, name: str) -> None:
    _do(engine, SEED)
    _do(engine, BREAKS[name])
    results = _results(ACHIEVEMENTS, database_url)
    assert [other for other, one in results.items() if not one.passed] == [name]
    found, expected = results[name], next(one for one in ACHIEVEMENTS.expectations if one.name == name)
    critical = expected.severity == "critical"
    assert found.severity == (dg.AssetCheckSeverity.ERROR if critical else dg.AssetCheckSeverity.WARN)
    if "samples" in found.metadata:
        rows: Any = found.metadata["samples"].value
        assert "7" in {row.get("id") for row in rows} or {row["title"] for row in rows} == {"Ship part 1"}
        assert 1 <= len(rows) <= SAMPLES
    else:
        assert found.metadata["observed"].value == "2"


def test_what_cannot_be_computed_is_a_failure_that_says_why(engine: Engine, database_url: str) -> None:
    unknown = Expected("no_such_column", "expect_column_values_to_not_be_null", {"column": "nowhere"})
    (found,) = validate(Suite("achievements", "SELECT * FROM achievements", [unknown]), database_url)
    assert not found.passed
    assert "nowhere" in str(found.metadata["error"].value)


def test_the_scheduled_job_stores_its_results_as_checks_of_the_asset(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    _do(engine, SEED)
    _do(engine, BREAKS["titles_say_something"])
    with dg.instance_for_test() as instance:
        made = defs.resolve_job_def("quality").execute_in_process(instance=instance, raise_on_error=False)
    found = {one.check_name: one.passed for one in made.get_asset_check_evaluations()}
    assert found == {name: name != "titles_say_something" for name in BREAKS}
    assert made.success  # the run says what it found; a table-wide check holds nobody up


def test_no_run_but_the_nightly_one_loads_great_expectations() -> None:
    assert quality_schedule.cron_schedule == "0 4 * * *"
    for job in (*CHAINS, "metrics"):
        assert "achievements_quality" not in {node.name for node in defs.resolve_job_def(job).nodes}
