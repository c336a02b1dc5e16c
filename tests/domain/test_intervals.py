from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from threads_agent_dagster.domain.intervals import difference_interval, ratio_interval, wilson_interval


def test_wilson_equals_the_worked_values_of_newcombe_1998() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3 (score, no continuity correction).
    low, high = wilson_interval([81, 15, 0, 1], [263, 148, 20, 29])
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= successes / trials <= high <= 1


def test_no_trials_have_no_interval() -> None:
    assert np.isnan(wilson_interval([0], [0])).all()


def test_wilson_covers_95_percent_on_average() -> None:
    """Exact coverage, averaged over rates and sizes as they occur; a single rate oscillates around it."""
    coverage = []
    for trials in (100, 500, 3000):
        counts = np.arange(trials + 1)
        low, high = wilson_interval(counts, np.full(trials + 1, trials))
        rates = np.linspace(0.005, 0.5, 150)[:, None]
        coverage.append((binom.pmf(counts, trials, rates) * ((low <= rates) & (rates <= high))).sum(axis=1))
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)


def test_difference_equals_the_worked_values_of_newcombe_1998b() -> None:
    # Newcombe (1998), Statistics in Medicine 17:873-890, table II, method 10, contrasts (a) and (g).
    low, high = difference_interval([[48, 56], [0, 10]], [[80, 70], [10, 10]])
    assert (low[0], high[0]) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (low[1], high[1]) == pytest.approx((0.6075, 1.0), abs=5e-5)


@pytest.mark.parametrize("interval", [difference_interval, ratio_interval])
def test_comparisons_cover_95_percent(interval: Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]) -> None:
    rng = np.random.default_rng(4)
    for rates in ((0.02, 0.03), (0.2, 0.2), (0.5, 0.6)):
        n = np.array([2000, 1500])
        low, high = interval(rng.binomial(n, rates, (20_000, 2)), np.broadcast_to(n, (20_000, 2)))
        truth = rates[1] - rates[0] if interval is difference_interval else rates[1] / rates[0]
        assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.95, abs=0.01)


def test_comparisons_without_data_are_open() -> None:
    assert np.isnan(difference_interval([0, 0], [0, 5])).all()
    assert tuple(map(float, ratio_interval([0, 3], [10, 10]))) == (0.0, np.inf)
