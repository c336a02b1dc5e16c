"""Fixed-horizon tests: valid when looked at once, at the planned end.

Arms lie on the last axis; the axes before it are experiments. Arms without impressions take no part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threads_agent_dagster.domain.intervals import Floats

COCHRAN = 5.0  # the chi-square approximation is used from this expected count in every cell (Cochran 1954)


def equal_rates_p_value(successes: ArrayLike, impressions: ArrayLike) -> Floats:
    """Two-sided p that all arms share one rate, one per experiment; 1 where there is nothing to compare.

    Pearson's chi-square over all arms (for two arms the pooled two-proportion z test). Where a cell expects fewer than
    5, exact: each arm against the rest by its hypergeometric distribution, Bonferroni over the arms.
    """
    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    arms, all_x, all_n = (n > 0).sum(axis=-1), x.sum(axis=-1, keepdims=True), n.sum(axis=-1, keepdims=True)
    rate = np.divide(all_x, all_n, out=np.zeros_like(all_n), where=all_n > 0)
    expected = n * rate
    variance = expected * (1 - rate)
    squares = np.divide((x - expected) ** 2, variance, out=np.zeros_like(n), where=variance > 0)
    p = np.where(arms > 1, _chi_square_tail(np.maximum(arms - 1, 1), squares.sum(axis=-1)), 1.0)
    rarest = np.where(n > 0, n * np.minimum(rate, 1 - rate), np.inf).min(axis=-1)
    sparse = (arms > 1) & (rarest < COCHRAN)
    if sparse.any():
        p[sparse] = _exact_equal_rates(x[sparse], n[sparse], arms[sparse])
    return p


def _chi_square_tail(degrees: NDArray[np.int64], statistic: Floats) -> Floats:
    """The chance of at least `statistic`; with one degree of freedom it is the normal's, which takes far less time."""
    from scipy.special import chdtrc, erfc

    normal = erfc(np.sqrt(statistic / 2))
    several = degrees > 1
    return np.asarray(np.where(several, chdtrc(degrees, statistic), normal) if several.any() else normal, dtype=float)


def _exact_equal_rates(x: Floats, n: Floats, arms: NDArray[np.int64]) -> Floats:
    """Given the total of successes, an arm's share of them is hypergeometric whatever the common rate."""
    population, drawn = n.sum(axis=-1, keepdims=True), x.sum(axis=-1, keepdims=True)
    rarer = np.where(2 * drawn > population, n - x, x)  # successes and failures mirror each other
    drawn = np.broadcast_to(rarer.sum(axis=-1, keepdims=True), n.shape)
    p = _fisher_p_value(*(v.ravel() for v in (rarer, n, drawn, np.broadcast_to(population, n.shape))))
    return _bonferroni(p.reshape(n.shape), arms)


def _fisher_p_value(x: Floats, n: Floats, drawn: Floats, population: Floats) -> Floats:
    """Fisher's exact test, two-sided by Irwin's rule: all outcomes that are no likelier than the observed one."""
    mean = n * drawn / population
    reach = np.ceil(12 * np.sqrt(mean)) + 40  # leaves out less than 1e-30
    first = np.maximum(np.maximum(0, n + drawn - population), np.floor(mean - reach))
    last = np.minimum(np.minimum(n, drawn), np.ceil(mean + reach))
    order = np.argsort(last - first)
    p = np.empty_like(x)
    for part in np.array_split(order, 1 + len(order) // 1024):
        if part.size:
            at = first[part, None] + np.arange(1 + (last - first)[part].max())
            p[part] = _no_likelier(at, *(v[part, None] for v in (x, n, drawn, population, last)))
    return p


def _no_likelier(at: Floats, x: Floats, n: Floats, drawn: Floats, population: Floats, last: Floats) -> Floats:
    following, inside = at[:, 1:], at <= last
    # How much likelier an outcome is than the one before it.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (drawn - following + 1) * (n - following + 1) / (following * (population - drawn - n + following))
        steps = np.where(inside[:, 1:], np.log(ratio), 0.0)
    log_likely = np.concatenate([np.zeros_like(x), np.cumsum(steps, axis=-1)], axis=-1)
    likely = np.where(inside, np.exp(log_likely - log_likely.max(axis=-1, keepdims=True)), 0.0)
    observed = np.where(at == x, likely, 0.0).sum(axis=-1, keepdims=True)
    tail = np.where(likely <= observed * (1 + 1e-9), likely, 0.0).sum(axis=-1)
    return np.asarray(tail / likely.sum(axis=-1), dtype=float)


def sample_ratio_p_value(impressions: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """p that impressions were split as planned (equally without weights), one per experiment.

    Pearson's chi-square; where an arm expects fewer than 5 impressions, exact binomial per arm with Bonferroni.
    """
    n = np.asarray(impressions, dtype=float)
    share = np.ones(n.shape[-1]) if weights is None else np.asarray(weights, dtype=float)
    share = np.broadcast_to(share / share.sum(axis=-1, keepdims=True), n.shape)
    expected = n.sum(axis=-1, keepdims=True) * share
    squares = np.divide((n - expected) ** 2, expected, out=np.zeros_like(n), where=expected > 0)
    arms = (share > 0).sum(axis=-1)
    p = np.where(arms > 1, _chi_square_tail(np.maximum(arms - 1, 1), squares.sum(axis=-1)), 1.0)
    sparse = (arms > 1) & (np.where(share > 0, expected, np.inf).min(axis=-1) < COCHRAN)
    if sparse.any():
        p[sparse] = _exact_sample_ratio(n[sparse], share[sparse], arms[sparse])
    return np.where(((share == 0) & (n > 0)).any(axis=-1), 0.0, p)


def _exact_sample_ratio(n: Floats, share: Floats, arms: NDArray[np.int64]) -> Floats:
    from scipy.special import bdtr

    total = n.sum(axis=-1, keepdims=True)
    at_most = bdtr(n, total.astype(np.int64), share)
    below = np.where(n > 0, bdtr(np.maximum(n - 1, 0), total.astype(np.int64), share), 0.0)
    return _bonferroni(np.minimum(1.0, 2 * np.minimum(at_most, 1 - below)), arms)


def _bonferroni(p_values: Floats, arms: NDArray[np.int64]) -> Floats:
    """Smallest p over the arms, corrected; two arms mirror each other and are one test."""
    corrected: Floats = np.minimum(1.0, p_values.min(axis=-1) * np.where(arms == 2, 1, arms))
    return corrected


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values (last axis = family) that control the family-wise error rate (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    return _restored(np.maximum.accumulate(steps, axis=-1), order)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Adjusted p-values (last axis = family) that control the false discovery rate (Benjamini and Hochberg 1995)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, axis=-1, kind="stable")
    family = p.shape[-1]
    steps = np.take_along_axis(p, order, axis=-1) * (family / np.arange(1, family + 1))
    return _restored(np.minimum.accumulate(steps[..., ::-1], axis=-1)[..., ::-1], order)


def _restored(ordered: Floats, order: NDArray[np.intp]) -> Floats:
    adjusted = np.empty_like(ordered)
    np.put_along_axis(adjusted, order, np.minimum(ordered, 1.0), axis=-1)
    return adjusted


def cuped(outcome: ArrayLike, covariate: ArrayLike) -> tuple[Floats, float]:
    """(adjusted outcomes, share of the variance removed) by a covariate measured before the experiment.

    Deng, Xu, Kohavi and Walker (2013): the mean is unchanged, the variance falls by the squared correlation. Pass all
    arms at once; one slope per arm would bias the comparison.
    """
    y, x = np.asarray(outcome, dtype=float), np.asarray(covariate, dtype=float)
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread == 0 or np.ptp(y) == 0:
        return y.copy(), 0.0
    adjusted = y - centred * (float(centred @ y) / spread)
    return adjusted, 1 - float(adjusted.var() / y.var())
