"""Intervals for proportions; every function is vectorised over NumPy arrays of counts."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def normal_quantile(alpha: float) -> float:
    """The two-sided critical value of the standard normal, e.g. 1.96 for alpha = 0.05."""
    return NormalDist().inv_cdf(1 - alpha / 2)


def wilson_interval(successes: ArrayLike, trials: ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Wilson's (1927) score interval: lower and upper bound, NaN where trials = 0."""
    x, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    z2 = normal_quantile(alpha) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (x + z2 / 2) / (n + z2)
        half_width = np.sqrt(z2 * (x * (1 - x / n) + z2 / 4)) / (n + z2)
        # At 0 and n successes the bound is 0 or 1 in exact arithmetic; rounding must not move it outside.
        low = np.where(x == 0, 0.0, centre - half_width)
        high = np.where(x == n, 1.0, centre + half_width)
    unmeasured = n == 0
    return np.where(unmeasured, np.nan, low), np.where(unmeasured, np.nan, high)


def difference_interval(successes: ArrayLike, trials: ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Rate 2 − rate 1 for pairs on the last axis: Newcombe's (1998) hybrid score interval, NaN without trials."""
    x, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    low, high = wilson_interval(x, n, alpha)
    rate = np.divide(x, n, out=np.full_like(x, np.nan), where=n > 0)
    difference = rate[..., 1] - rate[..., 0]
    down = np.hypot(rate[..., 1] - low[..., 1], high[..., 0] - rate[..., 0])
    up = np.hypot(high[..., 1] - rate[..., 1], rate[..., 0] - low[..., 0])
    return difference - down, difference + up


def ratio_interval(successes: ArrayLike, trials: ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Rate 2 / rate 1 for pairs on the last axis: log interval of Katz et al. (1978), (0, inf) without successes."""
    x, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    known = (x > 0).all(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log(x[..., 1] / n[..., 1]) - np.log(x[..., 0] / n[..., 0])
        half_width = normal_quantile(alpha) * np.sqrt((1 / x - 1 / n).sum(axis=-1))
        low, high = np.exp(log_ratio - half_width), np.exp(log_ratio + half_width)
    return np.where(known, low, 0.0), np.where(known, high, np.inf)
