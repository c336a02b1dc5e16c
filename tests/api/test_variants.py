"""/api/v1/variants and /api/v1/experiments: every event counts once."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

VARIANTS = "/api/v1/variants"


@pytest.fixture
def prompts(open_app: Callable[..., TestClient]) -> TestClient:
    """The prompts app, called by an editor."""
    return open_app("prompts", "editor")


@pytest.fixture
def variant(prompts: TestClient) -> str:
    """A variant's path."""
    body = {"variant_id": "hook:question", "dimensions": {"style": "question"}, "hook": "Why?"}
    assert prompts.post(VARIANTS, json=body).status_code == 201
    return f"{VARIANTS}/hook:question/performance"


def _sums(engine: Engine) -> tuple[Any, ...]:
    with engine.connect() as connection:
        row = connection.execute(text("SELECT count(*), sum(impressions), sum(successes) FROM observations")).one()
        return tuple(row)


def _event(event_id: str, impressions: float = 10, successes: int = 3, **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "impressions": impressions, "successes": successes, **more}


def test_a_variant_is_made_once_and_has_no_figures_yet(prompts: TestClient, engine: Engine) -> None:
    body = {"variant_id": "a", "dimensions": {"style": "question"}, "hook": "Why?"}
    created = prompts.post(VARIANTS, json=body)
    assert created.status_code == 201
    assert (created.json()["impressions"], created.json()["mean_performance"]) == (None, None)
    assert prompts.post(VARIANTS, json=body).status_code == 409
    assert [one["variant_id"] for one in prompts.get(VARIANTS).json()["items"]] == ["a"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT key FROM pending")).scalars().all() == ["variant:a"]


def test_eight_callers_with_a_hundred_events_each_count_eight_hundred(
    prompts: TestClient, engine: Engine, variant: str
) -> None:
    """The predecessor's failure obs-18: 127 of 800 were counted."""

    def record(caller: int) -> set[int]:
        events = (_event(f"{caller}/{number}", 2, 1) for number in range(100))
        return {prompts.post(variant, json={"observations": [one]}).status_code for one in events}

    with ThreadPoolExecutor(8) as pool:
        assert set.union(*pool.map(record, range(8))) == {200}
    assert _sums(engine) == (800, 1600, 800)


def test_batches_that_overlap_and_cross_count_each_event_once(
    prompts: TestClient, engine: Engine, variant: str
) -> None:
    events = [_event(f"e{number:03}") for number in range(60)]

    def record(shift: int) -> int:
        turned = (events[shift:] + events[:shift])[:40]
        batch = turned if shift % 2 else turned[::-1]
        answer = prompts.post(variant, json={"observations": batch})
        assert answer.status_code == 200
        assert answer.json()["recorded"] + answer.json()["duplicates"] == 40
        return int(answer.json()["recorded"])

    with ThreadPoolExecutor(6) as pool:
        recorded = list(pool.map(record, range(0, 60, 5)))
    assert sum(recorded) == 60
    assert _sums(engine) == (60, 600, 180)


def test_an_event_sent_again_counts_once_and_with_other_figures_is_a_conflict(
    prompts: TestClient, engine: Engine, variant: str
) -> None:
    first = prompts.post(variant, json={"observations": [_event("a"), _event("b")]})
    assert first.json() == {"variant_id": "hook:question", "recorded": 2, "duplicates": 0}
    again = prompts.post(variant, json={"observations": [_event("b"), _event("c")]})
    assert (again.json()["recorded"], again.json()["duplicates"]) == (1, 1)
    other = prompts.post(variant, json={"observations": [_event("a", 11), _event("d")]})
    assert other.status_code == 409
    assert _sums(engine) == (3, 30, 9)


IMPOSSIBLE = [
    [_event("a", -5000, 120)],
    [_event("a", 10, -1)],
    [_event("a", 10, 11)],
    [_event("good"), _event("a", 10, 11)],
    [_event("a", 2**31, 0)],
    [_event("a", 10**400, 0)],
    [_event("a", 1.5, 1)],
    [_event("", 1, 1)],
    [_event("a"), _event("a")],
    [_event("a", success_rate=1.22)],
    [_event("a", observed_at="2026-01-01")],
    [_event("a", observed_at="8999-01-01T00:00:00Z")],
    [],
    [_event(str(number)) for number in range(1001)],
]


def test_figures_that_cannot_be_are_refused_and_nothing_of_the_batch_is_stored(
    prompts: TestClient, engine: Engine, variant: str, subtests: pytest.Subtests
) -> None:
    """The predecessor's failure obs-19: a negative batch was subtracted."""
    for observations in IMPOSSIBLE:
        with subtests.test(observations=str(observations)[:80]):
            assert prompts.post(variant, json={"observations": observations}).status_code == 422
            assert _sums(engine) == (0, None, None)


def test_an_unknown_variant_records_nothing(prompts: TestClient, engine: Engine) -> None:
    answer = prompts.post(f"{VARIANTS}/nobody/performance", json={"observations": [_event("a")]})
    assert answer.status_code == 404
    assert prompts.post(f"{VARIANTS}/a%00b/performance", json={"observations": [_event("a")]}).status_code == 422
    assert _sums(engine) == (0, None, None)


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


def test_a_running_experiment_takes_no_further_variant(prompts: TestClient, engine: Engine, experiment: str) -> None:
    new = {"variant_id": "x/c", "experiment_id": experiment}
    with engine.begin() as connection:
        connection.execute(text("UPDATE experiments SET status = 'running'"))
    assert prompts.post(VARIANTS, json=new).status_code == 409
    assert prompts.post(VARIANTS, json=new | {"experiment_id": "nobody"}).status_code == 422
    with engine.begin() as connection:
        connection.execute(text("UPDATE experiments SET status = 'draft'"))
    assert prompts.post(VARIANTS, json=new).status_code == 201
    assert len(prompts.get(f"{VARIANTS}?experiment_id={experiment}").json()["items"]) == 3


def _run(prompts: TestClient, **plan: Any) -> None:
    arms = [{"variant_id": name, "hook": f"Hook {name}", "is_control": name == "a"} for name in "abc"]
    new = {"id": "x", "name": "x", "plan": plan, "variants": arms}
    assert prompts.post("/api/v1/experiments", json=new).status_code == 201
    assert prompts.post("/api/v1/experiments/x/start").status_code == 200


def _select(prompts: TestClient, unit: str, **more: Any) -> dict[str, Any]:
    answer = prompts.post(f"{VARIANTS}/select", json={"experiment_id": "x", "unit_id": unit, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_fixed_split_is_the_documented_hash(prompts: TestClient) -> None:
    _run(prompts)
    for number in range(20):
        position = int.from_bytes(hashlib.sha256(f"x\0u{number}".encode()).digest()[:8], "big") / 2**64
        found = _select(prompts, f"u{number}")
        assert (found["variant_id"], found["steered"]) == ("abc"[int(position * 3)], False)


@pytest.mark.parametrize("policy", ["thompson", "top_two", "ucb", "forward"])
def test_a_policy_favours_what_works_keeps_a_floor_and_never_changes_its_mind(
    prompts: TestClient, engine: Engine, policy: str
) -> None:
    _run(prompts, policy=policy, floor=0.3)
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO variant_performance (variant_id, dimensions, impressions, successes)
                    VALUES ('a', '{}', 2000, 20), ('b', '{}', 2000, 500), ('c', '{}', 2000, 10)""")
        )
        for earlier in range(3 if policy == "forward" else 0):  # what a prior is fitted to
            for statement in (
                "INSERT INTO experiments (id, name) VALUES ('e{0}', 'earlier')",
                "INSERT INTO variants (variant_id, experiment_id) VALUES ('e{0}/a', 'e{0}'), ('e{0}/b', 'e{0}')",
                "INSERT INTO variant_performance (variant_id, dimensions, impressions, successes) "
                "VALUES ('e{0}/a', '{{}}', 1000, 2{0}), ('e{0}/b', '{{}}', 1000, 9{0})",
            ):
                connection.execute(text(statement.format(earlier)))
    first = [_select(prompts, f"u{number}") for number in range(40)]
    steered = [one["variant_id"] for one in first if one["steered"]]
    assert 0 < len(steered) < 40
    assert steered.count("b") >= len(steered) * (0.4 if policy == "top_two" else 0.9)
    with engine.begin() as connection:
        connection.execute(text("UPDATE variant_performance SET successes = 0 WHERE variant_id = 'b'"))
    assert [_select(prompts, f"u{number}") for number in range(40)] == first


def test_callers_at_once_get_one_variant_for_one_unit(prompts: TestClient) -> None:
    _run(prompts, policy="thompson")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda seed: _select(prompts, "same", seed=seed)["variant_id"], range(24)))
    assert len(found) == 1


def test_posts_of_an_hour_share_a_variant_and_a_promoted_one_gets_everything(prompts: TestClient) -> None:
    _run(prompts)
    select, hour = f"{VARIANTS}/select", {"experiment_id": "x", "persona_id": "ada"}
    found = [prompts.post(select, json=hour | {"at": f"2026-01-05T10:{minute}:00Z"}).json() for minute in (10, 50)]
    assert found[0] == found[1]
    assert found[0]["unit_id"] == "ada|2026-W02|Mon|10"
    force = {"variant_id": "c", "force": True, "reason": "a test"}
    assert prompts.post("/api/v1/experiments/x/promote", json=force).status_code == 200
    assert {_select(prompts, f"u{number}")["variant_id"] for number in range(9)} == {"c"}
    assert prompts.post("/api/v1/experiments/x/undo", json={}).status_code == 200
    assert len({_select(prompts, f"u{number}")["variant_id"] for number in range(30)}) == 3


def test_what_cannot_be_selected_is_refused(prompts: TestClient, engine: Engine) -> None:
    select = f"{VARIANTS}/select"
    assert prompts.post(select, json={"experiment_id": "x", "unit_id": "u"}).status_code == 404
    _run(prompts)
    for wrong in ({}, {"unit_id": "u", "persona_id": "p"}, {"persona_id": "p"}, {"unit_id": "u", "seed": -1}):
        assert prompts.post(select, json={"experiment_id": "x"} | wrong).status_code == 422
    assert prompts.post("/api/v1/experiments/x/stop").status_code == 200
    assert prompts.post(select, json={"experiment_id": "x", "unit_id": "u"}).status_code == 409


def test_harm_and_steering_belong_to_the_event(prompts: TestClient, engine: Engine, variant: str) -> None:
    event = _event("a", steered=True, guardrails={"hides": 2})
    assert prompts.post(variant, json={"observations": [event]}).status_code == 200
    assert prompts.post(variant, json={"observations": [event]}).json()["duplicates"] == 1
    assert prompts.post(variant, json={"observations": [event | {"steered": False}]}).status_code == 409
    assert prompts.post(variant, json={"observations": [event | {"guardrails": {"hides": 1}}]}).status_code == 409
    assert prompts.post(variant, json={"observations": [_event("b", guardrails={"hides": 11})]}).status_code == 422
    assert _sums(engine) == (1, 10, 3)


def test_an_export_holds_every_variant_as_the_lists_show_it(prompts: TestClient, engine: Engine) -> None:
    assert prompts.get(f"{VARIANTS}/export?format=json").json() == []
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO experiments (id, name) VALUES ('e', 'e')"))
        connection.execute(
            text("""INSERT INTO variants (variant_id, experiment_id, hook)
                    SELECT 'v' || lpad(n::text, 4, '0'), CASE WHEN n % 2 = 0 THEN 'e' END, '=1+' || n
                    FROM generate_series(1, 2500) AS n""")
        )
        connection.execute(
            text("""INSERT INTO variant_performance (variant_id, dimensions, impressions, successes)
                    VALUES ('v0002', '{}', 100, 7)""")
        )
    exported = prompts.get(f"{VARIANTS}/export?format=json").json()
    assert exported[:20] == prompts.get(VARIANTS).json()["items"]
    assert len(exported) == 2500
    answer = prompts.get(f"{VARIANTS}/export?experiment_id=e")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == 1250
    assert {name: rows[0][name] for name in ("experiment_id", "variant_id", "hook", "successes")} == {
        "experiment_id": "e", "variant_id": "v0002", "hook": "'=1+2", "successes": "7",
    }  # fmt: skip
    assert "attachment" in answer.headers["content-disposition"]
    assert prompts.get(f"{VARIANTS}/export?format=xml").status_code == 422
