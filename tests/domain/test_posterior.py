from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln
from scipy.stats import norm

from threads_agent_dagster.domain import sequential
from threads_agent_dagster.domain.experiments import LARGEST
from threads_agent_dagster.domain.posterior import best_arm


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 300)] * 4))
def test_two_arms_equal_the_closed_form(counts: tuple[int, int, int, int]) -> None:
    # Miller (2014), "Formulas for Bayesian A/B testing": P(B > A) as a finite sum for whole parameters.
    x_a, f_a, x_b, f_b = counts
    i = np.arange(x_b + 1)
    terms = betaln(x_a + 1 + i, f_a + f_b + 2) - np.log(f_b + 1 + i) - betaln(1 + i, f_b + 1) - betaln(x_a + 1, f_a + 1)
    p_best, _ = best_arm([x_a, x_b], [x_a + f_a, x_b + f_b])
    assert p_best[1] == pytest.approx(np.exp(terms).sum(), abs=2e-5)


@pytest.mark.parametrize(
    ("successes", "impressions"),
    [
        ([2, 1, 0, 0], [2, 2, 2, 2]),
        ([1] * 20, [50] * 20),
        ([3, 30_000, 0], [5, 100_000, 0]),  # posteriors of very different width
        ([3783, 0, 3411, 0], [97_196, 2, 89_728, 10]),
        ([15, 18, 9, 25, 22, 16, 14, 30, 11], [1000] * 9),
    ],
)
def test_many_arms_equal_simulation(successes: list[int], impressions: list[int]) -> None:
    x, n = np.array(successes), np.array(impressions)
    draws = np.random.default_rng(0).beta(x + 1, n - x + 1, (400_000, len(n)))
    p_best, loss = best_arm(x, n)
    assert p_best == pytest.approx(np.bincount(draws.argmax(axis=1), minlength=len(n)) / len(draws), abs=0.004)
    assert loss == pytest.approx(draws.max(axis=1).mean() - draws.mean(axis=0), abs=0.001)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=8)
)
def test_probabilities_sum_to_one_and_losses_are_shares(arms: list[tuple[int, int]]) -> None:
    x, n = np.array(arms).T
    p_best, loss = best_arm(x, n)
    assert p_best.sum() == pytest.approx(1)
    assert ((p_best >= -1e-12) & (loss >= 0) & (loss <= 1)).all()


def test_experiments_do_not_influence_each_other() -> None:
    x, n = np.array([[5, 9], [0, 0], [400, 440]]), np.array([[100, 100], [1, 9], [5000, 5100]])
    together = best_arm(x, n)[0]
    assert np.array_equal(together, np.vstack([best_arm(a, b)[0] for a, b in zip(x, n, strict=True)]))


@pytest.mark.parametrize("rate", [0.015, 0.5, 0.999])
def test_the_largest_counts_keep_their_digits(rate: float) -> None:
    n = LARGEST
    deviation = np.sqrt(n * rate * (1 - rate))
    x = np.array([round(n * rate), round(n * rate + deviation)])
    p_best, _ = best_arm(x, [n, n])
    assert p_best[1] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=1e-3)  # posteriors are normal by then
    assert sequential.always_valid_p_value(x, [n, n]) == 1.0
