from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare, fisher_exact, hypergeom

from threads_agent_dagster.domain.significance import (
    benjamini_hochberg,
    cuped,
    equal_rates_p_value,
    holm,
    sample_ratio_p_value,
)


def test_frequent_counts_equal_pearson_chi_square() -> None:
    successes, impressions = (
        np.array([[63, 49, 39, 68], [30, 31, 55, 30]]),
        np.array([[2661, 2539, 2551, 2629], [400] * 4]),
    )
    expected = [
        chi2_contingency([x, n - x], correction=False).pvalue for x, n in zip(successes, impressions, strict=True)
    ]
    assert equal_rates_p_value(successes, impressions) == pytest.approx(expected, rel=1e-9)


def test_lady_tasting_tea() -> None:
    # Fisher (1935), The Design of Experiments: 3 of 4 cups right; one-sided 17/70, two-sided 34/70.
    assert equal_rates_p_value([3, 1], [4, 4]) == pytest.approx(34 / 70)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
        lambda n: st.tuples(st.just(n), st.tuples(st.integers(0, n[0]), st.integers(0, n[1])))
    )
)
def test_rare_counts_of_two_arms_equal_fisher_exact(case: tuple[tuple[int, int], tuple[int, int]]) -> None:
    n, x = np.array(case[0]), np.array(case[1])
    rate = x.sum() / n.sum()
    if 0 < rate < 1 and (n * min(rate, 1 - rate)).min() < 5:
        assert equal_rates_p_value(x, n) == pytest.approx(fisher_exact([x, n - x]).pvalue)


@pytest.mark.parametrize(
    ("impressions", "successes"), [([[10, 10]], [[0, 0]]), ([[10, 10]], [[10, 10]]), ([[5]], [[1]])]
)
def test_nothing_to_compare_is_p_one(impressions: list[list[int]], successes: list[list[int]]) -> None:
    assert equal_rates_p_value(successes, impressions) == [1.0]


def test_arms_without_impressions_take_no_part() -> None:
    assert equal_rates_p_value([50, 80, 0], [1000, 1000, 0]) == equal_rates_p_value([50, 80], [1000, 1000])


@pytest.mark.parametrize(("per_arm", "total"), [((6, 7, 5), 3), ((20, 20, 20), 4), ((3, 40, 9), 6), ((8, 8), 5)])
def test_rare_counts_reject_no_more_than_promised(per_arm: tuple[int, ...], total: int) -> None:
    """Exact, by enumeration of all outcomes with that total, for every level at once."""
    outcomes, chances = _outcomes(per_arm, total)
    p = equal_rates_p_value(outcomes, np.broadcast_to(per_arm, outcomes.shape))
    for level in np.unique(p):
        assert chances[p <= level].sum() <= level + 1e-12


def _outcomes(per_arm: tuple[int, ...], total: int) -> tuple[np.ndarray, np.ndarray]:
    grid = np.stack(np.meshgrid(*(np.arange(n + 1) for n in per_arm), indexing="ij"), axis=-1).reshape(-1, len(per_arm))
    grid = grid[grid.sum(axis=1) == total]
    chance, left_n, left_x = np.ones(len(grid)), sum(per_arm), np.full(len(grid), total)
    for arm, n in enumerate(per_arm[:-1]):
        chance *= hypergeom.pmf(grid[:, arm], left_n, left_x, n)
        left_n, left_x = left_n - n, left_x - grid[:, arm]
    assert chance.sum() == pytest.approx(1)
    return grid, chance


def test_level_holds_where_the_approximation_starts() -> None:
    rng = np.random.default_rng(1)
    for arms, n, rate in ((2, 400, 0.02), (3, 300, 0.02), (5, 60, 0.1)):
        counts = rng.binomial(n, rate, (40_000, arms))
        rejected = (equal_rates_p_value(counts, np.full(counts.shape, n)) <= 0.05).mean()
        assert 0.04 < rejected < 0.055


def test_sample_ratio_equals_chi_square() -> None:
    counts = [821_588, 815_482]  # Kohavi, Tang and Xu (2020), section 21: p = 1.8e-6
    assert sample_ratio_p_value(counts) == pytest.approx(1.8e-6, rel=0.02)
    assert sample_ratio_p_value([900, 90, 30], [90, 7, 3]) == pytest.approx(
        chisquare([900, 90, 30], np.array([0.9, 0.07, 0.03]) * 1020).pvalue
    )


def test_sample_ratio_of_few_impressions_keeps_its_level() -> None:
    rng = np.random.default_rng(2)
    for total, arms in ((6, 2), (8, 3), (12, 5)):
        counts = rng.multinomial(total, [1 / arms] * arms, 50_000)
        assert (sample_ratio_p_value(counts) <= 0.05).mean() <= 0.055


def test_sample_ratio_needs_something_to_compare() -> None:
    assert sample_ratio_p_value([[0, 0]]) == [1.0]
    assert sample_ratio_p_value([[7]]) == [1.0]
    assert sample_ratio_p_value([5, 5], [1, 0]) == 0.0


def test_corrections_equal_worked_values() -> None:
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") and "BH"; p.adjust(c(0.04, 0.001, 0.03), ...).
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert benjamini_hochberg([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05] * 5)
    assert holm([0.04, 0.001, 0.03]) == pytest.approx([0.06, 0.003, 0.06])
    assert benjamini_hochberg([0.04, 0.001, 0.03]) == pytest.approx([0.04, 0.003, 0.04])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrections_only_raise_and_keep_the_order(p_values: list[float]) -> None:
    p = np.array(p_values)
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert ((adjusted >= p) & (adjusted <= 1)).all()
        assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert (benjamini_hochberg(p) <= holm(p)).all()


def test_cuped_removes_the_squared_correlation_and_keeps_the_mean() -> None:
    rng = np.random.default_rng(3)
    covariate = rng.normal(size=5000)
    outcome = 2 + 0.8 * covariate + rng.normal(scale=0.6, size=5000)
    adjusted, removed = cuped(outcome, covariate)
    assert adjusted.mean() == pytest.approx(outcome.mean())
    assert removed == pytest.approx(np.corrcoef(outcome, covariate)[0, 1] ** 2)
    assert adjusted.var() == pytest.approx((1 - removed) * outcome.var())


def test_cuped_without_information_changes_nothing() -> None:
    adjusted, removed = cuped([1.0, 2.0, 3.0], [4.0, 4.0, 4.0])
    assert (adjusted.tolist(), removed) == ([1.0, 2.0, 3.0], 0.0)
