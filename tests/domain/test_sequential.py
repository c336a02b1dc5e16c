from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from threads_agent_dagster.domain.sequential import (
    always_valid_p_value,
    log_evidence,
    ratio_confidence_sequence,
)
from threads_agent_dagster.domain.significance import equal_rates_p_value


@pytest.mark.parametrize(("arms", "rate", "step"), [(2, 0.015, 100), (2, 0.5, 2), (3, 0.05, 30), (5, 0.3, 10)])
def test_peeking_a_hundred_times_rejects_no_more_than_alpha(arms: int, rate: float, step: int) -> None:
    rng = np.random.default_rng(5)
    n, x = np.zeros((2, 2000, arms), dtype=np.int64)
    sequential, fixed = np.ones(2000), np.ones(2000)
    for _ in range(100):
        shown = rng.multinomial(step * arms, [1 / arms] * arms, 2000)
        n, x = n + shown, x + rng.binomial(shown, rate)
        sequential = np.minimum(sequential, always_valid_p_value(x, n))
        fixed = np.minimum(fixed, equal_rates_p_value(x, n))
    assert (sequential <= 0.05).mean() <= 0.05
    assert (fixed <= 0.05).mean() > 0.15  # the harm that the sequential test avoids


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.7])
def test_evidence_expects_at_most_one_under_equal_rates(rate: float) -> None:
    """Exact: the mean of the e-value over all outcomes of an even split."""
    for n in (1, 2, 10, 60):
        outcomes = np.stack(np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"), axis=-1)
        chances = binom.pmf(outcomes, n, rate).prod(axis=-1)
        evidence = np.exp(log_evidence(outcomes, np.full(outcomes.shape, n)))
        assert (chances * evidence).sum() <= 1 + 1e-9


def test_a_clear_difference_is_found() -> None:
    assert always_valid_p_value([500, 650], [5000, 5000]) < 0.001
    assert always_valid_p_value([500, 650], [5000, 5000]) > equal_rates_p_value([500, 650], [5000, 5000])


@pytest.mark.parametrize(("x", "n"), [([0, 0], [0, 0]), ([0, 0], [9, 9]), ([3, 0], [3, 0]), ([9, 9], [9, 9])])
def test_without_contrast_there_is_no_evidence(x: list[int], n: list[int]) -> None:
    assert always_valid_p_value(x, n) == pytest.approx(1.0, abs=1e-12)  # processors differ in the last bit


def test_confidence_sequence_covers_at_all_times() -> None:
    rng = np.random.default_rng(6)
    n, x = np.zeros((2, 1000, 2), dtype=np.int64)
    missed = np.zeros(1000, dtype=bool)
    for _ in range(60):
        shown = rng.multinomial(400, [0.5, 0.5], 1000)
        n, x = n + shown, x + rng.binomial(shown, [0.04, 0.05])
        low, high = ratio_confidence_sequence(x, n)
        missed |= ~((low <= 1.25) & (high >= 1.25))
    assert missed.mean() <= 0.05
    assert (high - low).mean() < 1  # it does narrow


def test_confidence_sequence_without_successes_knows_nothing() -> None:
    low, high = ratio_confidence_sequence([[0, 0]], [[10, 10]])
    assert (low[0], high[0]) == (0.0, np.inf)
