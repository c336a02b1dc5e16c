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
