"""Posts are the unit: their rates vary, and the comparison knows it."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from threads_agent_dagster.domain.significance import equal_rates_p_value
from threads_agent_dagster.domain.units import FEWEST, compare_units
from threads_agent_dagster.errors import InvalidInput

Arrays = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]


def posts(rng: np.random.Generator, units: int = 100, spread: float = 0.5, uplift: float = 0.0) -> Arrays:
    """Impressions, successes, arm and earlier rate; half of what makes rates vary was there before."""
    known, own = rng.normal(0, spread * np.sqrt(0.5), (2, units))
    treated = rng.permutation(np.arange(units) % 2 == 0)
    shown = rng.poisson(1000, units)
    won = rng.binomial(shown, 0.015 * np.exp(known + own) * np.where(treated, 1 + uplift, 1))
    return shown, won, treated, rng.binomial(8000, 0.015 * np.exp(known)) / 8000


def test_equal_posts_give_welchs_t() -> None:
    rng = np.random.default_rng(1)
    _, _, treated, _ = posts(rng)
    won = rng.binomial(500, 0.1, treated.size)
    found = compare_units(np.full(treated.size, 500), won, treated)
    expected = ttest_ind(won[treated] / 500, won[~treated] / 500, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.variance_removed == 0
    assert found.design_effect == pytest.approx(1, abs=0.4)


def test_the_adjusted_difference_is_that_of_a_regression() -> None:
    rng = np.random.default_rng(2)
    _, _, treated, before = posts(rng, units=4000)
    won = rng.binomial(1000, np.minimum(before * np.where(treated, 1.2, 1.0), 1))
    found = compare_units(np.full(treated.size, 1000), won, treated, before)
    fitted = sm.OLS(won / 1000, sm.add_constant(np.column_stack([treated, before]))).fit(cov_type="HC1")
    assert found.difference == pytest.approx(fitted.params[1], rel=0.02)
    assert found.high - found.low == pytest.approx(np.diff(fitted.conf_int()[1])[0], rel=0.02)


def test_equal_posts_that_vary_are_seldom_called_different() -> None:
    rng = np.random.default_rng(3)
    by_impressions = by_units = adjusted = 0
    removed = []
    for _ in range(400):
        shown, won, treated, before = posts(rng)
        sums = [[values[~treated].sum(), values[treated].sum()] for values in (won, shown)]
        by_impressions += bool(equal_rates_p_value(*sums) <= 0.05)
        by_units += compare_units(shown, won, treated).p_value <= 0.05
        found = compare_units(shown, won, treated, before)
        adjusted += found.p_value <= 0.05
        removed.append(found.variance_removed)
    assert by_impressions > 80  # 5 % would be 20
    assert max(by_units, adjusted) < 36
    assert 0.25 < np.mean(removed) < 0.45


def test_an_earlier_rate_finds_more() -> None:
    rng = np.random.default_rng(4)
    plain = adjusted = 0
    for _ in range(300):
        shown, won, treated, before = posts(rng, uplift=0.3)
        plain += compare_units(shown, won, treated).p_value <= 0.05
        adjusted += compare_units(shown, won, treated, before).p_value <= 0.05
    assert adjusted > 1.15 * plain


@pytest.mark.parametrize(
    ("shown", "won"), [([10] * (2 * FEWEST - 1), 1), ([10] * 20, 0), ([10] * 20, 10), ([0] * 10 + [10] * 10, 0)]
)
def test_what_cannot_be_compared_is_refused(shown: list[int], won: int) -> None:
    treated = np.arange(len(shown)) >= len(shown) // 2
    with pytest.raises(InvalidInput):
        compare_units(shown, [min(won, n) for n in shown], treated)


def test_a_constant_earlier_rate_changes_nothing() -> None:
    shown, won, treated, _ = posts(np.random.default_rng(5))
    plain, constant = (compare_units(shown, won, treated, before) for before in (None, np.full(shown.size, 0.02)))
    assert constant == plain


@pytest.mark.parametrize(("won", "p_value"), [(12, 0.0), (10, 1.0)])
def test_posts_that_do_not_vary_decide_at_once(won: int, p_value: float) -> None:
    treated = np.arange(20) % 2 == 0
    assert compare_units([100] * 20, np.where(treated, won, 10), treated).p_value == p_value
