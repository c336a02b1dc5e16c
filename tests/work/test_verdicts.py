"""A verdict comes from the frozen plan and from sound data, or says that they are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from threads_agent_dagster.domain.experiments import Plan
from threads_agent_dagster.errors import Conflict, InvalidInput, NotFound
from threads_agent_dagster.work import experiments, verdicts
from threads_agent_dagster.work.backfills import begin
from threads_agent_dagster.work.drain import Origin, drain

WINS = {"a": (10_000, 200), "b": (10_000, 400)}


def _execute(engine: Engine, statement: str, **parameters: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def _start(engine: Engine, name: str, plan: dict[str, Any] | None = None) -> None:
    given = {"minimum_sample": 100} | (plan or {})
    _execute(
        engine,
        "INSERT INTO experiments (id, name, plan) VALUES (:id, 'n', cast(:plan AS jsonb))",
        id=name,
        plan=json.dumps(given),
    )
    _execute(
        engine,
        "INSERT INTO variants (variant_id, experiment_id, is_control) VALUES (:a, :id, true), (:b, :id, false)",
        a=f"{name}/a",
        b=f"{name}/b",
        id=name,
    )
    _execute(
        engine,
        "UPDATE experiments SET status = 'running', started_at = now() - interval '3 days', plan_hash = :hash "
        "WHERE id = :id",
        id=name,
        hash=Plan.of(given).sha256(),
    )


def _observe(engine: Engine, name: str, counts: dict[str, tuple[int, int]], ago: str = "0", **more: Any) -> None:
    for arm, (shown, won) in counts.items():
        _execute(
            engine,
            """INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at, steered, guardrails)
               VALUES (gen_random_uuid()::text, :variant, :shown, :won, now() - cast(:ago AS interval), :steered,
                   cast(:guardrails AS jsonb))""",
            variant=f"{name}/{arm}",
            shown=shown,
            won=won,
            ago=ago,
            steered=more.get("steered", False),
            guardrails=json.dumps({metric: n[arm] for metric, n in more.get("harm", {}).items()}),
        )


def _drain(engine: Engine) -> None:
    for job in (experiments.job(), verdicts.job()):
        drain(engine, job, None, Origin("run-1", job.code_version))


def _verdict(engine: Engine, name: str) -> Any:
    _drain(engine)
    with engine.connect() as connection:
        return connection.execute(
            text("SELECT * FROM experiment_verdicts WHERE experiment_id = :id"), {"id": name}
        ).one_or_none()


def test_a_verdict_is_stored_with_what_it_came_from(engine: Engine) -> None:
    _start(engine, "x")
    _observe(engine, "x", WINS)
    found = _verdict(engine, "x")
    assert (found.verdict, found.variant_id, found.gate, found.n) == ("ship", "x/b", None, 20_000)
    assert found.plan_hash == Plan.of({"minimum_sample": 100}).sha256()
    assert (len(found.input_version), found.prior) == (64, "Beta(1, 1) for each rate")
    assert "dirichlet" in found.test
    assert "best with probability 1.00" in found.reason
    assert (found.run_id, found.code_version) == ("run-1", verdicts.CODE_VERSION)


def test_the_same_inputs_give_the_same_bytes(engine: Engine) -> None:
    _start(engine, "x")
    _observe(engine, "x", WINS)
    first = _verdict(engine, "x")
    assert begin(engine, verdicts.job(), None, "again", force=True, lease=0) == 1
    again = _verdict(engine, "x")
    assert again.computed_at > first.computed_at
    assert (again.document, again.sha256) == (first.document, first.sha256)


def test_verify_computes_the_same_bytes_and_sees_a_forgery(engine: Engine) -> None:
    _start(engine, "x")
    with engine.connect() as connection, pytest.raises(NotFound):
        verdicts.verify(connection, "x")
    _observe(engine, "x", WINS)
    _drain(engine)
    with engine.connect() as connection:
        assert verdicts.verify(connection, "x").same
        assert verdicts.verify(connection, "x").current
    _observe(engine, "x", {"a": (10, 1), "b": (10, 1)})
    drain(engine, experiments.job(), None, Origin("run-1", "2"))
    with engine.connect() as connection:
        assert verdicts.verify(connection, "x").same
        assert not verdicts.verify(connection, "x").current
    _execute(
        engine,
        "UPDATE experiment_verdicts SET document = replace(document, :found, :forged)",
        found='"successes":400',
        forged='"successes":40',
    )
    with engine.connect() as connection:
        assert not verdicts.verify(connection, "x").same


def test_a_started_plan_cannot_be_changed(engine: Engine) -> None:
    _start(engine, "x")
    for change in ("plan = '{\"alpha\": 0.5}'", "plan_hash = 'other'", "plan_hash = NULL"):
        with pytest.raises(IntegrityError, match="a changed plan is a new experiment"):
            _execute(engine, f"UPDATE experiments SET {change}")
    _execute(engine, "UPDATE experiments SET status = 'stopped', ended_at = now()")


def test_a_plan_changed_behind_the_back_of_the_database_gives_no_verdict(engine: Engine) -> None:
    _start(engine, "x")
    _execute(engine, "ALTER TABLE experiments DISABLE TRIGGER keep_frozen_plan")
    _execute(engine, "UPDATE experiments SET plan = '{\"alpha\": 0.5}'")
    _observe(engine, "x", WINS)
    found = _verdict(engine, "x")
    assert (found.verdict, found.gate, found.variant_id) == ("unhealthy", "plan", None)


UNSOUND: dict[str, tuple[dict[str, Any], dict[str, tuple[int, int]], str, str, str]] = {
    "sample_ratio": ({}, {"a": (10_000, 200), "b": (9_000, 400)}, "0", "unhealthy", "sample_ratio"),
    "weights": ({"weights": [3, 1]}, WINS, "0", "unhealthy", "sample_ratio"),
    "stale": ({}, WINS, "8 days", "unhealthy", "stale"),
    "minimum": ({"minimum_sample": 10_001}, WINS, "0", "keep running", "minimum_sample"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_data_decide_nothing_and_others_are_judged(engine: Engine, name: str) -> None:
    plan, counts, ago, verdict, gate = UNSOUND[name]
    _start(engine, "bad", plan)
    _start(engine, "good")
    _observe(engine, "bad", counts, ago)
    _observe(engine, "good", WINS)
    found = _verdict(engine, "bad")
    assert (found.verdict, found.gate, found.variant_id) == (verdict, gate, None)
    assert _verdict(engine, "good").verdict == "ship"


def test_a_variant_that_fell_silent_makes_the_data_stale(engine: Engine) -> None:
    _start(engine, "x")
    _observe(engine, "x", {"a": WINS["a"]}, "9 days")
    _observe(engine, "x", {"b": WINS["b"]})
    assert _verdict(engine, "x").gate == "stale"


def test_counts_that_cannot_be_judged_stay_with_their_experiment(engine: Engine) -> None:
    _start(engine, "bad", {"alpha": 0.05})
    _start(engine, "good")
    _execute(engine, "ALTER TABLE experiments DISABLE TRIGGER keep_frozen_plan")
    _execute(engine, "UPDATE experiments SET plan = '{\"alpha\": 7}' WHERE id = 'bad'")
    for name in ("bad", "good"):
        _observe(engine, name, WINS)
    assert _verdict(engine, "good").verdict == "ship"
    assert _verdict(engine, "bad") is None
    with engine.connect() as connection:
        error = connection.execute(text("SELECT error FROM pending WHERE key = 'experiment:bad'")).scalar_one()
    assert error == "plan or counts: alpha: 7 is not between 0 and 1"


def test_a_fixed_plan_decides_once_at_its_horizon(engine: Engine) -> None:
    _start(engine, "x", {"stopping_rule": "fixed", "horizon": 10_000})
    _observe(engine, "x", {"a": (5_000, 100), "b": (5_000, 300)})
    assert _verdict(engine, "x").verdict == "keep running"
    _observe(engine, "x", {"a": (5_000, 100), "b": (5_000, 0)})
    decided = _verdict(engine, "x")
    assert decided.verdict == "ship"
    _observe(engine, "x", {"a": (50_000, 5_000), "b": (50_000, 0)})
    assert _verdict(engine, "x").document == decided.document


def test_what_a_policy_steered_judges_nothing(engine: Engine) -> None:
    _start(engine, "x", {"policy": "thompson"})
    _observe(engine, "x", {"a": (1_000, 20), "b": (1_000, 21)})
    _observe(engine, "x", {"a": (100, 0), "b": (50_000, 5_000)}, steered=True)
    found = _verdict(engine, "x")
    assert (found.verdict, found.n) == ("keep running", 2_000)
    assert found.srm_p == 1.0


def test_a_winner_that_harms_is_rolled_back(engine: Engine) -> None:
    _start(engine, "x", {"guardrails": [{"metric": "unfollows", "tolerated": 0.1}]})
    _observe(engine, "x", WINS, harm={"unfollows": {"a": 100, "b": 500}})
    found = _verdict(engine, "x")
    assert (found.verdict, found.rule) == ("roll back", "guardrail unfollows: at most +10.0 % worse")
    compared = json.loads(found.document)["comparisons"]
    assert [(one["metric"], one["variant_id"]) for one in compared] == [("success_rate", "x/b"), ("unfollows", "x/b")]
    assert compared[1]["low"] > 0.1
    assert compared[0]["p_holm"] == pytest.approx(2 * min(one["p"] for one in compared))


def test_promoting_needs_a_shipping_verdict_or_a_reason_and_can_be_undone(engine: Engine) -> None:
    _start(engine, "x")
    _observe(engine, "x", {"a": (10_000, 200), "b": (5_000, 400)})
    _drain(engine)
    names = ["x/a", "x/b"]

    def promote(variant: str | None = None, *, force: bool = False, reason: str | None = None) -> None:
        with engine.begin() as connection:
            verdicts.promote(connection, verdicts.Wish("x", variant, "ada", force, reason), names)

    with pytest.raises(Conflict, match="unhealthy: impressions are split"):
        promote("x/b")
    with pytest.raises(InvalidInput, match="force needs a reason"):
        promote("x/b", force=True, reason=" ")
    with pytest.raises(InvalidInput, match="no variant of this experiment"):
        promote("y", force=True, reason="why not")
    promote("x/b", force=True, reason="the other page was down")
    _observe(engine, "x", {"b": (5_000, 0)})
    _drain(engine)
    with engine.begin() as connection:
        (made,) = verdicts.db.promotions_of(connection, "x")
        assert (made["promoted_by"], made["forced"], made["reason"], made["verdict"]) == (
            "ada", True, "the other page was down", "unhealthy",
        )  # fmt: skip
        assert verdicts.db.promoted(connection, "x") == "x/b"
    with pytest.raises(Conflict, match="promoted already"):
        promote()
    with engine.begin() as connection:
        verdicts.undo(connection, "x", "bob", "second thoughts")
        assert verdicts.db.promoted(connection, "x") is None
        (undone,) = verdicts.db.promotions_of(connection, "x")
        assert (undone["undone_by"], undone["undo_reason"]) == ("bob", "second thoughts")
        with pytest.raises(Conflict, match="nothing is promoted"):
            verdicts.undo(connection, "x", "bob", None)
    promote()
    with engine.connect() as connection:
        newest, *_ = verdicts.db.promotions_of(connection, "x")
        assert (newest["variant_id"], newest["forced"]) == ("x/b", False)
