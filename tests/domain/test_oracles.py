"""The statistics against those of statsmodels, which other people wrote and check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.api import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportions_ztest,
    samplesize_proportions_2indep_onetail,
)

from threads_agent_dagster.domain.intervals import difference_interval, ratio_interval, wilson_interval
from threads_agent_dagster.domain.power import sample_size
from threads_agent_dagster.domain.significance import benjamini_hochberg, cuped, equal_rates_p_value, holm

COUNTS = st.integers(200, 50_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(n // 20, n // 2)))


@given(COUNTS, st.sampled_from([0.01, 0.05, 0.2]))
def test_wilson(counts: tuple[int, int], alpha: float) -> None:
    n, x = counts
    assert np.ravel(wilson_interval(x, n, alpha)) == pytest.approx(proportion_confint(x, n, alpha, "wilson"), abs=1e-12)


@given(COUNTS, COUNTS)
def test_two_proportions(first: tuple[int, int], second: tuple[int, int]) -> None:
    n, x = np.array([first[0], second[0]]), np.array([first[1], second[1]])
    assert equal_rates_p_value([x], [n])[0] == pytest.approx(proportions_ztest(x, n)[1], rel=1e-9, abs=1e-300)


@given(COUNTS, COUNTS)
def test_intervals_of_a_difference_and_a_ratio(first: tuple[int, int], second: tuple[int, int]) -> None:
    (n1, x1), (n2, x2) = first, second
    newcombe = confint_proportions_2indep(x2, n2, x1, n1, method="newcomb", compare="diff")
    assert np.ravel(difference_interval([x1, x2], [n1, n2])) == pytest.approx(newcombe, abs=1e-9)
    katz = confint_proportions_2indep(x2, n2, x1, n1, method="log", compare="ratio")
    assert np.ravel(ratio_interval([x1, x2], [n1, n2])) == pytest.approx(katz, rel=1e-9)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrections(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


@settings(max_examples=30)
@given(st.floats(0.01, 0.5), st.floats(0.05, 0.5))
def test_sample_size(baseline: float, uplift: float) -> None:
    """statsmodels looks at one tail and rounds nothing."""
    wanted = samplesize_proportions_2indep_onetail(baseline * uplift, baseline, 0.8, alpha=0.025, alternative="larger")
    assert sample_size(baseline, uplift) == pytest.approx(wanted, rel=0.01, abs=2)
    assert NormalIndPower().power(0.1, 1000, 0.05) == pytest.approx(0.6088, abs=1e-3)  # the oracle itself is alive


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_cuped_is_the_regression_on_the_covariate(seed: int) -> None:
    """Centred by the covariate's mean, the adjusted outcomes are a least-squares fit's residuals plus the mean."""
    rng = np.random.default_rng(seed)
    before = rng.normal(size=200)
    outcome = 0.7 * before + rng.normal(size=200)
    fit = OLS(outcome, np.column_stack([np.ones(200), before])).fit()
    adjusted, removed = cuped(outcome, before)
    assert adjusted == pytest.approx(fit.resid + outcome.mean())
    assert removed == pytest.approx(fit.rsquared)
