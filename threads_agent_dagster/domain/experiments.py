"""Which variant works, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threads_agent_dagster.domain.intervals import Floats, wilson_interval
from threads_agent_dagster.errors import InvalidInput

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VariantStatistics:
    """One entry per variant; NaN (store NULL) where a variant has no impressions."""

    mean: Floats  # successes per impression
    variance: Floats  # of the outcome (0 or 1) of a single impression; that of the mean is variance / impressions
    ci_low: Floats  # Wilson interval of the mean
    ci_high: Floats
    confidence_level: Floats  # coverage of [ci_low, ci_high], e.g. 0.95; says nothing about beating another variant


def validate_counts(impressions: ArrayLike, successes: ArrayLike) -> tuple[Counts, Counts]:
    """Both as int64 arrays of one shape.

    Raises: InvalidInput for what is negative, not whole or not finite, and for more successes than impressions.
    """
    n, x = _whole(impressions, "impressions"), _whole(successes, "successes")
    if n.shape != x.shape:
        raise InvalidInput(f"{x.size} values for {n.size} values of impressions", "successes")
    if (above := np.flatnonzero(x > n)).size:
        first = above[0]
        raise InvalidInput(f"{x.flat[first]} is more than the {n.flat[first]} impressions", "successes")
    return n, x


def _whole(values: ArrayLike, field: str) -> Counts:
    given = np.asarray(values)
    if given.dtype.kind not in "iuf" and given.size:
        raise InvalidInput("expected whole numbers", field)
    counts = given.astype(float)
    wrong = np.flatnonzero(~(counts >= 0) | (counts != np.floor(counts)) | (counts >= 2**53))
    if wrong.size:
        raise InvalidInput(f"{given.flat[wrong[0]]} is not a whole number of 0 or more", field)
    return counts.astype(np.int64)


def variant_statistics(impressions: ArrayLike, successes: ArrayLike, alpha: float = 0.05) -> VariantStatistics:
    """What `variant_performance` stores beside the counts.

    Raises: InvalidInput as `validate_counts`.
    """
    n, x = validate_counts(impressions, successes)
    measured = n > 0
    mean = np.divide(x, n, out=np.full(n.shape, np.nan), where=measured)
    low, high = wilson_interval(x, n, alpha)
    return VariantStatistics(mean, mean * (1 - mean), low, high, np.where(measured, 1 - alpha, np.nan))
