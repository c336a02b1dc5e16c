"""Predicted chances against what came true, on made-up readers whose taste is known."""

from __future__ import annotations

import numpy as np
import pytest

from threads_agent_dagster.domain.calibration import BINS, FEWEST_EXPERIMENTS, Measured, calibrate, pairs_of
from threads_agent_dagster.domain.hooks import PredictedLogits


def _simulated(experiments: int, impressions: int, honest: bool = True) -> list[Measured]:
    """Hooks whose true log-odds vary around the prediction by exactly its standard deviation, or not at all as said."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(experiments):
        mean = rng.normal(0, 0.3, 3)
        truth = (mean if honest else -mean) + rng.normal(0, 0.25, 3) - 3.0
        shown = np.full(3, float(impressions))
        clicks = rng.binomial(impressions, 1 / (1 + np.exp(-truth))).astype(float)
        made.append(Measured(PredictedLogits(mean, np.full(3, 0.25)), shown, clicks))
    return made


def test_honest_chances_come_true_in_every_bin() -> None:
    overall, *bins = calibrate(pairs_of(_simulated(800, 1_000_000)))
    assert (overall.chance_from, overall.chance_to) == (0.5, 1.0)
    assert overall.pairs == sum(one.pairs for one in bins) == 2400
    assert [one.chance_from for one in bins] == list(BINS[:-1])
    for one in [overall, *bins]:
        error = np.sqrt(one.share_right * (1 - one.share_right) / one.pairs)
        assert one.share_right == pytest.approx(one.mean_chance, abs=4 * error)
        assert one.share_low is not None
        assert one.share_high is not None
        assert one.share_low < one.share_right < one.share_high
    assert overall.brier < 0.25
    assert overall.log_loss < np.log(2)


def test_with_few_readers_what_is_expected_to_be_measured_comes_true() -> None:
    overall, *_ = calibrate(pairs_of(_simulated(1500, 500)))
    assert overall.expected_right < overall.mean_chance - 0.02
    assert overall.share_right == pytest.approx(overall.expected_right, abs=0.03)


def test_a_model_that_is_always_wrong_is_seen() -> None:
    overall, *_ = calibrate(pairs_of(_simulated(500, 100_000, honest=False)))
    assert overall.share_right < 0.3
    assert overall.brier > 0.25


def _one(mean: list[float], impressions: list[float], successes: list[float]) -> Measured:
    predicted = PredictedLogits(np.array(mean), np.full(len(mean), 0.2))
    return Measured(predicted, np.array(impressions), np.array(successes))


def test_ties_and_unseen_hooks_are_no_pairs() -> None:
    assert len(pairs_of([_one([0.1, -0.1], [100, 100], [5, 5])]).z) == 0
    assert len(pairs_of([_one([0.1, -0.1], [100, 0], [5, 0])]).z) == 0
    assert list(calibrate(pairs_of([]))) == []


def test_without_a_favourite_half_is_right() -> None:
    pairs = pairs_of([_one([0.0, 0.0], [1000, 1000], [50, 90])])
    assert (pairs.chance.tolist(), pairs.right.tolist()) == ([0.5], [0.5])


def test_z_is_that_of_two_proportions() -> None:
    from statsmodels.stats.proportion import proportions_ztest

    pairs = pairs_of([_one([0.1, -0.1], [1000, 1200], [50, 90])])
    assert pairs.z[0] == pytest.approx(proportions_ztest([50, 90], [1000, 1200])[0])


def test_few_experiments_have_no_interval() -> None:
    few, *_ = calibrate(pairs_of(_simulated(FEWEST_EXPERIMENTS - 1, 100_000)))
    assert (few.experiments, few.share_low, few.share_high) == (FEWEST_EXPERIMENTS - 1, None, None)
