from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from threads_agent_dagster.domain.experiments import (
    FIXED,
    VERDICTS,
    Guardrail,
    Judge,
    Plan,
    Verdict,
    analyze,
    canonical_json,
    detail,
    minimum_detectable_uplift,
    sample_size,
    validate_counts,
    variant_statistics,
)
from threads_agent_dagster.errors import InvalidInput


def test_statistics_of_measured_variants() -> None:
    found = variant_statistics(np.array([1000, 20]), np.array([120, 0]))
    assert found.mean.tolist() == [0.12, 0.0]
    assert found.variance == pytest.approx([0.12 * 0.88, 0.0])
    assert found.ci_low == pytest.approx([0.101299, 0.0], abs=1e-6)
    assert found.ci_high == pytest.approx([0.141609, 0.161125], abs=1e-6)
    assert found.confidence_level.tolist() == [0.95, 0.95]


def test_a_variant_without_impressions_is_missing_not_zero() -> None:
    found = variant_statistics([0, 10], [0, 1])
    fields = (found.mean, found.variance, found.ci_low, found.ci_high, found.confidence_level)
    assert all(np.isnan(field[0]) and np.isfinite(field[1]) for field in fields)


@pytest.mark.parametrize(
    ("impressions", "successes", "field"),
    [
        ([-5000], [0], "impressions"),  # the predecessor's failure obs-19 accepted this
        ([100], [-1], "successes"),
        ([1000], [1220], "successes"),
        ([10.5], [1], "impressions"),
        ([10], [float("nan")], "successes"),
        ([10**12 + 1], [1], "impressions"),
        (["ten"], [1], "impressions"),
        ([10, 10], [1], "successes"),
    ],
)
def test_impossible_counts_are_refused(impressions: list[Any], successes: list[Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        validate_counts(impressions, successes)
    assert refused.value.field == field


def test_no_variants_have_no_statistics() -> None:
    assert variant_statistics([], []).mean.size == 0


NAMES = ("a", "b", "c")


def judged(
    impressions: list[int], successes: list[int], plan: Plan | None = None, guardrails: tuple[Guardrail, ...] = ()
) -> Verdict:
    plan = plan or Plan()
    analysis = analyze([impressions], [successes], plan)
    judge = Judge(analysis, detail(analysis, plan), plan, daily_impressions=1000)
    found = judge.verdict(0, NAMES[: len(impressions)], guardrails)
    assert found.verdict == VERDICTS[analysis.verdict[0]] or guardrails
    return found


@pytest.mark.parametrize(
    ("impressions", "successes", "verdict", "variant_id"),
    [
        ([5000, 5000], [500, 650], "ship", "b"),
        ([5000, 5000], [650, 500], "roll back", "a"),
        ([5000, 5000], [500, 520], "keep running", None),
        ([200_000, 200_000], [20_000, 20_050], "no evidence", None),
        ([9000, 8000], [500, 500], "unhealthy", None),
        ([5000, 5000, 5000], [500, 505, 650], "ship", "c"),
        ([5000, 5000, 5000], [500, 640, 660], "ship", "c"),
        ([5000, 5000, 5000], [650, 500, 510], "roll back", "a"),
        ([5000, 5000, 5000], [650, 500, 630], "keep running", None),
        ([0, 0], [0, 0], "keep running", None),
        ([100, 100], [0, 0], "keep running", None),
        ([5000], [500], "no evidence", None),
    ],
)
def test_verdicts(impressions: list[int], successes: list[int], verdict: str, variant_id: str | None) -> None:
    found = judged(impressions, successes)
    assert (found.verdict, found.variant_id) == (verdict, variant_id)
    assert found.reason
    assert found.rule


def test_reasons_carry_the_numbers() -> None:
    assert judged([5000, 5000], [500, 650]).reason.startswith("b beats a: uplift +30.0 % (+7.8 % to +57.1 %)")
    waiting = judged([5000, 5000], [500, 520], Plan(horizon=7500))
    assert waiting.reason == "not decided yet; at most 2500 more impressions per variant, about 5 days"
    assert "9000 : 8000" in judged([9000, 8000], [500, 500]).reason


def test_a_fixed_plan_decides_at_its_horizon_and_not_before() -> None:
    plan = Plan(stopping_rule=FIXED, horizon=5000)
    assert judged([4999, 4999], [500, 650], plan).verdict == "keep running"
    assert judged([5000, 5000], [500, 650], plan).verdict == "ship"
    # Significant for the fixed test, not for the one that may be looked at any time.
    assert judged([5000, 5000], [500, 565], plan).verdict == "ship"
    assert judged([5000, 5000], [500, 565], replace(plan, stopping_rule="sequential")).verdict == "no evidence"


def test_planned_weights_make_an_uneven_split_healthy() -> None:
    assert judged([9000, 1000], [900, 100]).verdict == "unhealthy"
    assert judged([9000, 1000], [900, 100], Plan(weights=(0.9, 0.1))).verdict == "keep running"


def test_a_breached_guardrail_stops_a_winner() -> None:
    harmless, breached = Guardrail("unfollows", 0.05, -0.1, 0.2), Guardrail("unfollows", 0.05, 0.06, 0.3)
    assert judged([5000, 5000], [500, 650], guardrails=(harmless,)).verdict == "ship"
    found = judged([5000, 5000], [500, 650], guardrails=(harmless, breached))
    assert (found.verdict, found.variant_id) == ("roll back", "a")
    assert "unfollows got worse by +6.0 % to +30.0 %" in found.reason


def test_batches_equal_single_experiments() -> None:
    rng = np.random.default_rng(8)
    n = rng.integers(0, 3000, (40, 3))
    x = rng.binomial(n, 0.05)
    together = analyze(n, x, Plan())
    for row in range(40):
        alone = analyze(n[[row]], x[[row]], Plan())
        for name in ("p_value", "p_value_sequential", "srm_p", "p_best", "expected_loss", "verdict"):
            assert getattr(together, name)[row] == pytest.approx(getattr(alone, name)[0], rel=1e-9, abs=1e-12)


def test_false_verdicts_under_equal_rates_stay_below_alpha_however_often_one_looks() -> None:
    rng = np.random.default_rng(9)
    n, x = np.zeros((2, 1000, 3), dtype=np.int64)
    wrong = np.zeros(1000, dtype=bool)
    for _ in range(30):
        shown = rng.multinomial(900, [1 / 3] * 3, 1000)
        n, x = n + shown, x + rng.binomial(shown, 0.03)
        wrong |= analyze(n, x, Plan(horizon=10**6)).verdict <= 1
    assert wrong.mean() <= 0.05


def test_plans_are_frozen_by_their_hash() -> None:
    plan = Plan(mde=0.2, horizon=1000)
    assert plan.sha256() == Plan(mde=0.2, horizon=1000).sha256()
    changes = ({"alpha": 0.01}, {"mde": 0.3}, {"stopping_rule": FIXED}, {"horizon": 999}, {"weights": (0.5, 0.5)})
    assert len({replace(plan, **change).sha256() for change in changes} | {plan.sha256()}) == 1 + len(changes)


@pytest.mark.parametrize(
    "wrong", [{"alpha": 1.0}, {"power": 0.0}, {"mde": -0.1}, {"stopping_rule": "hope"}, {"horizon": 0}]
)
def test_impossible_plans_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Plan(**wrong)
    assert refused.value.field == next(iter(wrong))


def test_more_variants_need_more_impressions() -> None:
    plan = Plan(mde=0.2)
    assert sample_size(plan, 0.02, arms=4) > sample_size(plan, 0.02, arms=2)
    uplift = minimum_detectable_uplift(plan, 0.02, sample_size(plan, 0.02))
    assert uplift == pytest.approx(0.2, abs=1e-3)


def test_canonical_json_has_one_spelling() -> None:
    assert canonical_json({"b": 0.1, "a": [1, None]}) == '{"a":[1,null],"b":0.1}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))
