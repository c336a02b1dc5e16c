from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from threads_agent_dagster.domain.allocation import (
    Prior,
    assign,
    block_id,
    fit_prior,
    forward_scores,
    pooled_relative_rates,
    relative_rates,
    thompson_pick,
    thompson_scores,
    top_two,
    ucb1_scores,
    with_floor,
)
from threads_agent_dagster.domain.posterior import best_arm
from threads_agent_dagster.domain.significance import sample_ratio_p_value
from threads_agent_dagster.errors import InvalidInput


def test_thompson_shows_an_arm_as_often_as_it_is_probably_the_best() -> None:
    x, n = np.array([20, 25, 31, 3]), np.array([1000, 1000, 1000, 200])
    picks = thompson_scores(np.random.default_rng(1), np.tile(x, (50_000, 1)), n).argmax(axis=1)
    assert chisquare(np.bincount(picks, minlength=4), best_arm(x, n)[0] * 50_000).pvalue > 0.001


def test_quick_pick_has_the_distribution_of_the_plain_one() -> None:
    rng = np.random.default_rng(2)
    n = rng.integers(1, 400, 60)
    x = rng.binomial(n, 0.1)
    quick = np.bincount([thompson_pick(rng, x, n) for _ in range(20_000)], minlength=60)
    plain = np.bincount(thompson_scores(rng, np.tile(x, (20_000, 1)), n).argmax(axis=1), minlength=60)
    often = plain + quick > 50
    assert chi2_contingency([quick[often], plain[often]]).pvalue > 0.001
    assert abs(int(quick[~often].sum()) - int(plain[~often].sum())) < 100


def test_a_seed_repeats_a_decision() -> None:
    x, n = np.array([3, 5, 2]), np.array([100, 100, 100])
    assert len({thompson_pick(np.random.default_rng(7), x, n) for _ in range(5)}) == 1


def test_ucb1_equals_its_formula_and_tries_everything_once() -> None:
    scores = ucb1_scores([5, 8, 0], [50, 50, 0])
    assert scores[:2] == pytest.approx([0.1 + np.sqrt(2 * np.log(100) / 50), 0.16 + np.sqrt(2 * np.log(100) / 50)])
    assert np.isinf(scores[2])


def test_top_two_shows_the_runner_up_half_the_time() -> None:
    x, n = np.tile([10, 200, 100], (4000, 1)), np.tile([1000, 1000, 1000], (4000, 1))
    shown = np.bincount(top_two(np.random.default_rng(3), x, n), minlength=3) / 4000
    assert shown == pytest.approx([0, 0.5, 0.5], abs=0.03)


def test_floor_keeps_the_explored_split_even() -> None:
    rng = np.random.default_rng(4)
    arms, explored = with_floor(rng, np.full(40_000, 2), 4, 0.2)
    assert explored.mean() == pytest.approx(0.2, abs=0.01)
    assert sample_ratio_p_value(np.bincount(arms[explored], minlength=4)) > 0.001
    assert (arms[~explored] == 2).all()


def test_exploration_ends_with_the_run() -> None:
    prior = Prior(rate=0.015, rate_strength=3, arm_strength=8)
    x, n = np.tile([3, 2], (2000, 1)), np.tile([200, 200], (2000, 1))
    rng = np.random.default_rng(5)
    weaker = [
        (forward_scores(rng, x, n, np.full(2000, left), prior).argmax(axis=1) == 1).mean() for left in (100_000, 400, 0)
    ]
    assert 0.5 > weaker[0] > weaker[1] > 0
    assert weaker[2] == 0


def test_a_prior_mean_moves_what_has_not_been_tried() -> None:
    prior = Prior(rate=0.015, rate_strength=3, arm_strength=8)
    mean, _, rate = relative_rates([0, 0], [0, 0], prior, [0.9, 1.1])
    assert mean == pytest.approx([0.9, 1.1])
    assert rate == pytest.approx([0.015])
    mean, strength, _ = relative_rates([900, 450], [30_000, 30_000], prior, [0.9, 1.1])
    assert mean[0] / mean[1] == pytest.approx(2, rel=0.05)  # data win
    assert (strength > 300).all()


def test_a_fitted_prior_finds_the_spread_it_was_drawn_from() -> None:
    rng = np.random.default_rng(6)
    base = rng.gamma(4, 0.02 / 4, (3000, 1))
    rates = base * rng.gamma(10, 1 / 10, (3000, 4))
    n = np.where(rng.random((3000, 4)) < 0.2, 0, 3000)
    found = fit_prior(rng.binomial(n, np.minimum(rates, 1)), n)
    assert found.rate == pytest.approx(0.02, rel=0.05)
    assert found.rate_strength == pytest.approx(4, rel=0.25)
    assert found.arm_strength == pytest.approx(10, rel=0.25)


def test_a_prior_takes_more_than_one_experiment() -> None:
    with pytest.raises(InvalidInput):
        fit_prior([[1, 2]], [[10, 10]])


def test_assignment_is_the_same_in_another_process() -> None:
    # The predecessor's failure obs-21: Python's salted hash() gave every process its own assignment.
    code = (
        "from threads_agent_dagster.domain.allocation import assign;"
        "print([assign('e', f'u{i}', (1, 1, 2)) for i in range(50)])"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] == f"{[assign('e', f'u{i}', (1, 1, 2)) for i in range(50)]}\n"


def test_assignment_follows_its_documented_hash() -> None:
    # printf 'experiment\\0unit' | sha256sum: c239a0a30b5d28d8..., 0.7587 of 2^64
    assert [assign("experiment", "unit", weights) for weights in ((1, 1), (1, 9), (9, 1))] == [1, 1, 0]


def test_assignment_follows_the_weights_and_ignores_other_experiments() -> None:
    arms = [[assign(name, f"unit-{i}", (0.5, 0.3, 0.2, 0)) for i in range(20_000)] for name in ("one", "two")]
    counts = np.bincount(arms[0], minlength=4)
    assert counts[3] == 0
    assert sample_ratio_p_value(counts[:3], [0.5, 0.3, 0.2]) > 0.001
    together = np.zeros((3, 3))
    np.add.at(together, (arms[0], arms[1]), 1)
    assert chi2_contingency(together).pvalue > 0.001


@pytest.mark.parametrize("weights", [(), (0, 0), (1, -1)])
def test_no_split_is_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput):
        assign("e", "u", weights)


def test_posts_of_one_hour_share_a_block() -> None:
    at = datetime(2026, 3, 2, 9, 5, tzinfo=UTC)
    assert block_id("ada", at) == block_id("ada", at + timedelta(minutes=50)) == "ada|2026-W10|Mon|09"
    others = {block_id("bob", at), block_id("ada", at + timedelta(hours=1)), block_id("ada", at + timedelta(days=7))}
    assert len(others | {block_id("ada", at)}) == 4
    with pytest.raises(InvalidInput):
        block_id("ada", at.replace(tzinfo=None))


def test_a_new_variant_starts_from_what_similar_ones_earned() -> None:
    dimensions = [
        {"style": "question", "tone": "warm"},
        {"style": "question", "tone": "dry"},
        {"style": "claim", "tone": "warm"},
        {"style": "claim", "tone": "dry"},
        {"style": "question", "tone": "warm"},
    ]
    relative = pooled_relative_rates(dimensions, [600, 400, 300, 200, 0], [10_000, 10_000, 10_000, 10_000, 0], 10)
    assert relative[4] == relative[0] > relative[1] > relative[2] > relative[3]
    assert relative[0] / relative[2] == pytest.approx(2, rel=0.05)
    assert pooled_relative_rates(dimensions, [0] * 5, [0] * 5, 10).tolist() == [1.0] * 5
