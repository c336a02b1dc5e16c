"""What the hook model says of hooks that compete, with or without having been trained on them, and how it came true."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.db import hooks as db
from threads_agent_dagster.domain.hooks import load_hook_model, rank
from threads_agent_dagster.work.drain import Origin
from threads_agent_dagster.work.hooks import CODE_VERSION, predict, refresh_calibration

ORIGIN = Origin("run-1", CODE_VERSION)
HOOKS = ("Report on wages published", "He Gave Away His Last Dollar. Here's What Happened Next.")
BODY = "A man with nothing shared what he had, and his town answered."
Compete = Callable[..., None]


@pytest.fixture
def compete(engine: Engine) -> Compete:
    """Adds an experiment of hooks with one body, each with its impressions and successes."""

    def add(key: str, hooks: Sequence[str], bodies: Sequence[str], counts: Sequence[tuple[int, int]]) -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO experiments (id, name) VALUES (:key, 'n')"), {"key": key})
            for number, (hook, body, (shown, clicked)) in enumerate(zip(hooks, bodies, counts, strict=True)):
                row = {"id": f"{key}-{number}", "key": key, "hook": hook, "body": body, "n": shown, "k": clicked}
                for statement in (
                    "INSERT INTO variants (variant_id, experiment_id, hook) VALUES (:id, :key, :hook)",
                    "INSERT INTO posts (persona_id, hook, body, variant_id) VALUES ('default', :hook, :body, :id)",
                    """INSERT INTO variant_performance (variant_id, dimensions, impressions, successes)
                       VALUES (:id, '{}', :n, :k)""",
                ):
                    connection.execute(text(statement), row)

    return add


def _all(engine: Engine, table: str, order: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table} ORDER BY {order}")))


def test_an_experiment_that_the_model_never_saw_is_predicted_as_it_is_ranked(engine: Engine, compete: Compete) -> None:
    compete("e", HOOKS, [BODY, BODY], [(1000, 10), (1000, 30)])
    assert predict(engine, ORIGIN) == 1
    rows = _all(engine, "hook_predictions", "variant_id")
    assert [row.predicted_logit for row in rows] == pytest.approx(rank(HOOKS, BODY))
    assert [row.predicted_rank for row in rows] == [2, 1]
    assert {(row.sample, row.model_version, row.run_id) for row in rows} == {
        ("unseen", load_hook_model().version, "run-1")
    }


def test_only_what_is_new_or_changed_is_predicted(engine: Engine, compete: Compete) -> None:
    compete("a", HOOKS, [BODY, BODY], [(1000, 10), (1000, 30)])
    compete("alone", HOOKS[:1], [BODY], [(1000, 10)])
    assert [predict(engine, ORIGIN), predict(engine, ORIGIN)] == [1, 0]
    with engine.begin() as connection:
        connection.execute(text("UPDATE posts SET body = 'Another body' WHERE variant_id = 'a-0'"))
    assert predict(engine, Origin("run-2", CODE_VERSION)) == 1
    assert {row.run_id for row in _all(engine, "hook_predictions", "variant_id")} == {"run-2"}
    assert predict(engine, Origin("run-3", "another version")) == 1


def test_predictions_are_held_against_what_was_measured(engine: Engine, compete: Compete) -> None:
    compete("right", HOOKS, [BODY, BODY], [(1000, 10), (1000, 60)])
    compete("wrong", HOOKS, [BODY, ""], [(1000, 31), (1000, 30)])
    predict(engine, ORIGIN)
    refresh_calibration(engine, ORIGIN)
    overall = {
        (row.sample, row.counted): row
        for row in _all(engine, "hook_calibration", "chance_from")
        if (row.chance_from, row.chance_to) == (0.5, 1)
    }
    assert set(overall) == {("unseen", "all"), ("unseen", "significant")}
    every, significant = overall["unseen", "all"], overall["unseen", "significant"]
    assert (every.experiments, every.pairs, every.share_right, every.share_low) == (2, 2, 0.5, None)
    assert (significant.pairs, significant.share_right) == (1, 1)


def test_impressions_that_a_policy_gave_out_prove_nothing(engine: Engine, compete: Compete) -> None:
    compete("e", HOOKS, [BODY, BODY], [(1000, 10), (1000, 60)])
    predict(engine, ORIGIN)
    with engine.begin() as connection:
        connection.execute(text("UPDATE variant_performance SET steered_impressions = 1000, steered_successes = 10"))
    assert refresh_calibration(engine, ORIGIN) == 0


def _archive(path: Path, experiments: int) -> list[tuple[str, list[dict[str, str]]]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["experiment_id"])
    grouped = itertools.groupby(rows, lambda row: row["experiment_id"])
    several = ((key, found) for key, group in grouped if len(found := list(group)) > 1)
    return list(itertools.islice(several, experiments))


def test_experiments_that_it_was_trained_on_are_judged_by_weights_fitted_without_them(
    engine: Engine, compete: Compete, shared_data: Path
) -> None:
    known = _archive(shared_data / "upworthy_experiments.csv", 5)
    for key, rows in known:
        counts = [(int(row["impressions"]), int(row["clicks"])) for row in rows]
        compete(key, [row["headline"].upper() for row in rows], [row["lede"] for row in rows], counts)
    folds = {key: load_hook_model().folds_of([_key(rows[0])]) for key, rows in known}
    one, other = _of_two_folds(known, folds)
    compete("mixed", [one["headline"], other["headline"]], ["", ""], [(100, 1), (100, 2)])
    predict(engine, ORIGIN)
    samples = {row.experiment_id: row.sample for row in _all(engine, "hook_predictions", "variant_id")}
    assert samples.pop("mixed") == "in sample"
    assert set(samples.values()) == {"out of fold"}


def _key(row: dict[str, str]) -> int:
    from threads_agent_dagster.domain.hooks import text_key

    return text_key("headline", row["headline"])


def _of_two_folds(
    known: Sequence[tuple[str, list[dict[str, str]]]], folds: dict[str, set[int]]
) -> tuple[dict[str, str], dict[str, str]]:
    """A headline each of two experiments that lie in different folds."""
    first = known[0]
    return first[1][0], next(rows[0] for key, rows in known if folds[key] != folds[first[0]])


def test_a_refresh_is_due_when_a_hook_is_new_or_measured(engine: Engine, compete: Compete) -> None:
    def due() -> bool:
        with engine.connect() as connection:
            return db.is_due(connection)

    assert not due()
    compete("e", HOOKS, [BODY, BODY], [(1000, 10), (1000, 60)])
    assert due()
    predict(engine, ORIGIN)
    refresh_calibration(engine, ORIGIN)
    assert not due()
    with engine.begin() as connection:
        connection.execute(text("UPDATE variant_performance SET successes = 20, updated_at = now()"))
    assert due()
