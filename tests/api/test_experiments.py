"""/api/v1/experiments: how variants stand, computed from what the table holds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from threads_agent_dagster.work import experiments, verdicts
from threads_agent_dagster.work.drain import Origin, drain

EXPERIMENTS = "/api/v1/experiments"
NEW: dict[str, Any] = {
    "id": "hooks",
    "name": "Which hook works",
    "plan": {"alpha": 0.01},
    "variants": [{"variant_id": "b", "hook": "Why?"}, {"variant_id": "a", "hook": "How.", "is_control": True}],
}


@pytest.fixture
def prompts(open_app: Callable[..., TestClient]) -> TestClient:
    """The prompts app, called by an editor."""
    return open_app("prompts", "editor")


@pytest.fixture
def experiment(engine: Engine) -> str:
    """A draft with two variants, one of them measured."""
    measured = "(variant_id, dimensions, impressions, successes, mean_performance, ci_low, ci_high)"
    statements = [
        "INSERT INTO experiments (id, name) VALUES ('x', 'Hooks')",
        "INSERT INTO variants (variant_id, experiment_id, is_control) VALUES ('x/a', 'x', false), ('x/b', 'x', true)",
        f"INSERT INTO variant_performance {measured} VALUES ('x/b', '{{}}', 100, 20, 0.2, 0.13, 0.29)",
    ]
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    return "x"


def test_an_experiment_shows_its_variants_as_the_table_has_them(prompts: TestClient, experiment: str) -> None:
    shown = prompts.get(f"/api/v1/experiments/{experiment}").json()
    assert [one["variant_id"] for one in shown["variants"]] == ["x/b", "x/a"]
    control, other = shown["variants"]
    assert (control["impressions"], control["mean_performance"], control["ci_high"]) == (100, 0.2, 0.29)
    assert (other["impressions"], other["mean_performance"]) == (None, None)


def test_an_unknown_experiment_is_not_found(prompts: TestClient) -> None:
    """The predecessor's failure obs-20: any id had a constant winner."""
    assert prompts.get("/api/v1/experiments/nobody").status_code == 404


def test_experiments_come_in_pages(prompts: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO experiments (id, name) SELECT 'e' || n, 'n' FROM generate_series(1, 5) n"))
    first = prompts.get("/api/v1/experiments?per_page=3").json()
    rest = prompts.get(f"/api/v1/experiments?per_page=3&cursor={first['next']}").json()
    assert [one["id"] for one in first["items"] + rest["items"]] == ["e1", "e2", "e3", "e4", "e5"]
    assert rest["next"] is None


def test_an_experiment_is_made_with_its_variants_or_not_at_all(prompts: TestClient, engine: Engine) -> None:
    created = prompts.post(EXPERIMENTS, json=NEW)
    assert created.status_code == 201
    assert [one["variant_id"] for one in created.json()["variants"]] == ["a", "b"]
    assert (created.json()["status"], created.json()["result"]) == ("draft", None)
    assert prompts.post(EXPERIMENTS, json=NEW | {"id": "other"}).status_code == 409
    assert [one["id"] for one in prompts.get(EXPERIMENTS).json()["items"]] == ["hooks"]


NOT_EXPERIMENTS: list[dict[str, Any]] = [
    {"variants": NEW["variants"][:1]},
    {"variants": [NEW["variants"][0], NEW["variants"][0] | {"variant_id": "c"}]},
    {"variants": [NEW["variants"][1], NEW["variants"][1] | {"variant_id": "c"}]},
    {"variants": [NEW["variants"][1], NEW["variants"][1] | {"is_control": False}]},
    {"plan": {"alpha": 0}},
    {"plan": {"mde": -1}},
    {"plan": {"stopping_rule": "when it looks good"}},
    {"status": "running"},
    {"id": ""},
]


def test_what_cannot_be_compared_is_no_experiment(prompts: TestClient, subtests: pytest.Subtests) -> None:
    for change in NOT_EXPERIMENTS:
        with subtests.test(change=str(change)[:80]):
            assert prompts.post(EXPERIMENTS, json=NEW | change).status_code == 422
    assert prompts.get(EXPERIMENTS).json()["items"] == []


def test_a_started_experiment_has_a_frozen_plan_and_ends_once(prompts: TestClient) -> None:
    prompts.post(EXPERIMENTS, json=NEW)
    assert prompts.post(f"{EXPERIMENTS}/hooks/stop").status_code == 409
    started = prompts.post(f"{EXPERIMENTS}/hooks/start").json()
    assert (started["status"], len(started["plan_hash"])) == ("running", 64)
    assert started["started_at"] is not None
    assert prompts.post(f"{EXPERIMENTS}/hooks/start").status_code == 409
    stopped = prompts.post(f"{EXPERIMENTS}/hooks/stop").json()
    assert (stopped["status"], stopped["plan_hash"]) == ("stopped", started["plan_hash"])
    assert prompts.post(f"{EXPERIMENTS}/hooks/start").status_code == 409
    assert prompts.post(f"{EXPERIMENTS}/nobody/start").status_code == 404


def _measure(engine: Engine, **successes: int) -> None:
    statement = text(
        "INSERT INTO variant_performance (variant_id, dimensions, impressions, successes) "
        "VALUES (:variant_id, '{}', 10000, :successes) "
        "ON CONFLICT (variant_id) DO UPDATE SET successes = excluded.successes"
    )
    with engine.begin() as connection:
        for variant_id, count in successes.items():
            connection.execute(statement, {"variant_id": variant_id, "successes": count})


def test_the_verdict_follows_the_counts(prompts: TestClient, engine: Engine) -> None:
    prompts.post(EXPERIMENTS, json=NEW)
    path = f"{EXPERIMENTS}/hooks"
    prompts.post(f"{path}/start")
    _measure(engine, a=200)
    assert prompts.get(path).json()["result"] is None
    _measure(engine, b=600)
    result = prompts.get(path).json()["result"]
    assert (result["verdict"], result["variant_id"]) == ("ship", "b")
    assert [one["rate"] for one in result["arms"]] == [0.02, 0.06]
    assert result["arms"][1]["p_best"] > 0.999
    assert result["p_value"] < 0.01
    assert result["plan"]["alpha"] == 0.01
    _measure(engine, b=200)
    assert prompts.get(path).json()["result"]["verdict"] not in ("ship", "roll back")


def _started(prompts: TestClient, engine: Engine, **plan: Any) -> str:
    new = NEW | {"plan": {"minimum_sample": 0} | plan}
    assert prompts.post(EXPERIMENTS, json=new).status_code == 201
    assert prompts.post(f"{EXPERIMENTS}/hooks/start").status_code == 200
    _measure(engine, a=200, b=600)
    return f"{EXPERIMENTS}/hooks"


def _row(engine: Engine, table: str, **key: str) -> dict[str, Any]:
    ((column, value),) = key.items()
    with engine.connect() as connection:
        row = connection.execute(text(f"SELECT * FROM {table} WHERE {column} = :value"), {"value": value})
        return dict(row.mappings().one())


def _judged(prompts: TestClient, engine: Engine) -> None:
    """`hooks`, observed and with its verdict stored."""
    new = NEW | {"plan": {"minimum_sample": 0, "guardrails": [{"metric": "hides", "tolerated": 0.1}]}}
    prompts.post(EXPERIMENTS, json=new)
    prompts.post(f"{EXPERIMENTS}/hooks/start")
    for variant, successes in (("a", 37), ("b", 61)):
        seen = {"event_id": variant, "impressions": 1013, "successes": successes, "guardrails": {"hides": 3}}
        assert prompts.post(f"/api/v1/variants/{variant}/performance", json={"observations": [seen]}).status_code == 200
    for made in (experiments.job(), verdicts.job()):
        assert drain(engine, made, None, Origin("run-1", made.code_version)).stored


def test_every_figure_of_the_answer_is_that_of_its_table(prompts: TestClient, engine: Engine) -> None:
    _judged(prompts, engine)
    answer = prompts.get(f"{EXPERIMENTS}/hooks").json()
    shown, stored = answer["result"], _row(engine, "experiment_verdicts", experiment_id="hooks")
    document = json.loads(stored["document"])
    assert shown["sha256"] == shown["stored_sha256"] == stored["sha256"]
    for name, value in shown.items():
        if name not in ("sha256", "stored_sha256"):
            assert value == document[name], name
        if name in stored:
            assert value == stored[name], name
    assert {one["variant_id"] for one in shown["comparisons"]} == {"b"}
    assert {one["metric"] for one in shown["comparisons"]} == {"success_rate", "hides"}
    for one in answer["variants"]:
        row = _row(engine, "variant_performance", variant_id=one["variant_id"])
        figures = set(one) & set(row) - {"created_at", "dimensions", "last_used", "updated_at"}
        assert len(figures) >= 12
        assert {name: one[name] for name in figures} == {name: row[name] for name in figures}
        assert datetime.fromisoformat(one["last_used"]) == row["last_used"]


def test_promote_and_undo_say_who_and_when_and_refuse_what_is_unhealthy(prompts: TestClient, engine: Engine) -> None:
    path = _started(prompts, engine)
    promoted = prompts.post(f"{path}/promote", json={}).json()
    assert (promoted["promoted"], promoted["promotions"][0]["promoted_by"]) == ("b", "test editor")
    assert promoted["promotions"][0]["verdict_sha256"] == promoted["result"]["sha256"]
    undone = prompts.post(f"{path}/undo", json={"reason": "too loud"}).json()
    assert (undone["promoted"], undone["promotions"][0]["undo_reason"]) == (None, "too loud")
    assert undone["promotions"][0]["undone_at"] is not None
    assert prompts.post(f"{path}/undo", json={}).status_code == 409
    with engine.begin() as connection:
        connection.execute(text("UPDATE variant_performance SET impressions = 5000 WHERE variant_id = 'b'"))
    refused = prompts.post(f"{path}/promote", json={})
    assert (refused.status_code, "unhealthy" in refused.json()["detail"]) == (409, True)
    insisted = {"variant_id": "b", "force": True}
    assert prompts.post(f"{path}/promote", json=insisted).status_code == 422
    forced = prompts.post(f"{path}/promote", json=insisted | {"reason": "known outage"}).json()
    assert (forced["promoted"], forced["promotions"][0]["forced"]) == ("b", True)


def test_exports_hold_what_the_table_holds(prompts: TestClient, engine: Engine) -> None:
    path = _started(prompts, engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE variants SET hook = '=HYPERLINK(1)' WHERE variant_id = 'b'"))
    answer = prompts.get(f"{path}/export")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [(row["variant_id"], row["impressions"], row["successes"]) for row in rows] == [
        ("a", "10000", "200"),
        ("b", "10000", "600"),
    ]
    assert rows[1]["hook"] == "'=HYPERLINK(1)"
    assert "attachment" in answer.headers["content-disposition"]
    assert prompts.get(f"{path}/export?format=json").json() == prompts.get(path).json()
    assert prompts.get(f"{path}/export?format=xml").status_code == 422


def test_an_export_of_all_holds_the_stored_verdicts(prompts: TestClient, engine: Engine) -> None:
    assert prompts.get(f"{EXPERIMENTS}/export?format=json").json() == []
    _judged(prompts, engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO experiments (id, name) VALUES ('draft', '=1+1'), ('tab', '\t=1+1')"))
    exported = {row["id"]: row for row in prompts.get(f"{EXPERIMENTS}/export?format=json").json()}
    shown = prompts.get(f"{EXPERIMENTS}/hooks").json()
    assert exported["draft"]["verdict"] is None
    started = exported["hooks"]
    assert started["sha256"] == shown["result"]["stored_sha256"]
    assert {name: started[name] for name in ("verdict", "reason", "p_value", "n", "promoted")} == {
        name: (shown["result"] | shown)[name] for name in ("verdict", "reason", "p_value", "n", "promoted")
    }
    answer = prompts.get(f"{EXPERIMENTS}/export")
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))}
    assert (rows["draft"]["name"], rows["tab"]["name"]) == ("'=1+1", "'\t=1+1")
    for asked, found in (("q=%3D1", ["draft", "tab"]), ("status=running", ["hooks"]), ("q=x&status=draft", [])):
        named = prompts.get(f"{EXPERIMENTS}/export?format=json&{asked}").json()
        assert [row["id"] for row in named] == found
    assert prompts.get(f"{EXPERIMENTS}/export?status=done").status_code == 422
    assert rows["hooks"]["sha256"] == started["sha256"]
    assert "attachment" in answer.headers["content-disposition"]


NOT_PLANS: list[dict[str, Any]] = [
    {"stopping_rule": "fixed"},
    {"guardrails": [{"metric": "success_rate", "tolerated": 0.1}]},
    {"guardrails": [{"metric": "hides", "tolerated": -1}]},
    {"policy": "greedy"},
    {"floor": 0},
    {"stale_days": 0},
]


def test_a_plan_that_could_not_decide_is_refused(prompts: TestClient, subtests: pytest.Subtests) -> None:
    for plan in NOT_PLANS:
        with subtests.test(plan=str(plan)):
            assert prompts.post(EXPERIMENTS, json=NEW | {"plan": plan}).status_code == 422
    half = [NEW["variants"][0] | {"weight": 2}, NEW["variants"][1]]
    assert prompts.post(EXPERIMENTS, json=NEW | {"variants": half}).status_code == 422


def test_weights_follow_the_variants_not_their_order(prompts: TestClient, engine: Engine) -> None:
    weighed = [arm | {"weight": 3 if arm["variant_id"] == "b" else 1} for arm in NEW["variants"]]
    prompts.post(EXPERIMENTS, json=NEW | {"variants": weighed, "plan": {"minimum_sample": 0}})
    prompts.post(f"{EXPERIMENTS}/hooks/start")
    _measure(engine, a=200, b=600)
    assert prompts.get(f"{EXPERIMENTS}/hooks").json()["result"]["gate"] == "sample_ratio"
    with engine.begin() as connection:
        connection.execute(text("UPDATE variant_performance SET impressions = 30000 WHERE variant_id = 'b'"))
    assert prompts.get(f"{EXPERIMENTS}/hooks").json()["result"]["srm_p"] == 1.0
