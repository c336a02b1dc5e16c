"""/api/v1/variants and /api/v1/experiments: every event counts once."""

from __future__ import annotations

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
