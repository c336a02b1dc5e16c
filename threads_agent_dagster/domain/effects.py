"""Whether what a post feels goes with what readers do: effects within comparisons, with false-discovery control.

A comparison is a set of posts that stood in for each other: the variants of an experiment, or one persona's posts of a
month. Only differences within it count, so that what differs between topics or months says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.significance import benjamini_hochberg

Floats = NDArray[np.float64]
Verdict = Literal["raises", "lowers", "no evidence", "too little data"]

FALSE_DISCOVERY_RATE = 0.05
CONFIDENCE_LEVEL = 0.95
FEWEST_COMPARISONS = 20  # below it the standard error across comparisons cannot be trusted


@dataclass(frozen=True, slots=True)
class Posts:
    """One row per post. `features` is NaN where a post has none; impressions and engagements are counts."""

    comparison: NDArray[np.intp]
    impressions: Floats
    engagements: Floats
    features: Floats


@dataclass(frozen=True, slots=True)
class Effect:
    """What one standard deviation more of a feature, within its comparison, does to the odds of an engagement.

    `odds_ratio` and its interval (each covers with probability CONFIDENCE_LEVEL) are None where data is too little;
    `q_value` is the p-value adjusted for all features that were tested together.
    """

    feature: str
    comparisons: int
    posts: int
    odds_ratio: float | None
    low: float | None
    high: float | None
    p_value: float | None
    q_value: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Slope:
    comparisons: int
    posts: int
    slope: float = np.nan
    error: float = np.nan


def effects(posts: Posts, names: Sequence[str]) -> list[Effect]:
    """One effect per feature, in the order of `names`."""
    from scipy.stats import t

    slopes = [_slope(posts, posts.features[:, column]) for column in range(len(names))]
    tested = [index for index, one in enumerate(slopes) if np.isfinite(one.slope)]
    degrees = np.array([slopes[index].comparisons - 1 for index in tested])
    found = np.array([slopes[index].slope for index in tested])
    errors = np.array([slopes[index].error for index in tested])
    # Where nobody's engagement differs there is neither slope nor error.
    surprise = np.divide(np.abs(found), errors, out=np.zeros(len(found)), where=errors > 0)
    p_values: Floats = np.asarray(2 * t.sf(surprise, degrees))
    q_values: Floats = benjamini_hochberg(p_values) if tested else p_values
    reach = t.ppf((1 + CONFIDENCE_LEVEL) / 2, degrees) * errors
    ratios = np.exp(np.stack([found, found - reach, found + reach], axis=-1)).tolist()
    measured = {
        index: _effect(names[index], slopes[index], ratios[row], float(p_values[row]), float(q_values[row]))
        for row, index in enumerate(tested)
    }
    return [
        measured.get(index) or Effect(name, one.comparisons, one.posts, None, None, None, None, None, "too little data")
        for index, (name, one) in enumerate(zip(names, slopes, strict=True))
    ]


def _effect(name: str, one: _Slope, ratios: Sequence[float], p_value: float, q_value: float) -> Effect:
    verdict: Verdict = "no evidence"
    if q_value <= FALSE_DISCOVERY_RATE:
        verdict = "raises" if ratios[0] > 1 else "lowers"
    ratio, low, high = ratios
    return Effect(name, one.comparisons, one.posts, ratio, low, high, p_value, q_value, verdict)


def _slope(posts: Posts, feature: Floats) -> _Slope:
    """Weighted least squares of the log odds on the feature, both centred within comparisons.

    The error is that of whole comparisons (cluster-robust), so that posts of one of them need not be independent.
    """
    kept = np.isfinite(feature) & (posts.impressions > 0)
    _, group, sizes = np.unique(posts.comparison[kept], return_inverse=True, return_counts=True)
    paired = sizes[group] > 1
    group, x = group[paired], feature[kept][paired]
    shown, clicked = posts.impressions[kept][paired], np.minimum(posts.engagements, posts.impressions)[kept][paired]
    groups = np.unique(group)
    count = len(groups)
    if count < FEWEST_COMPARISONS:
        return _Slope(count, len(x))
    group = np.searchsorted(groups, group)
    weight = 1 / (1 / (clicked + 0.5) + 1 / (shown - clicked + 0.5))
    y = _centred(np.log((clicked + 0.5) / (shown - clicked + 0.5)), weight, group)
    x = _centred(x, weight, group)
    spread = np.sqrt((x @ x) / (len(x) - count))
    if spread < 1e-9:
        return _Slope(count, len(x))
    x = x / spread
    information = float(weight * x @ x)
    slope = float(weight * x @ y) / information
    by_group = np.bincount(group, weight * x * (y - slope * x))
    error = float(np.sqrt(by_group @ by_group * count / (count - 1))) / information
    return _Slope(count, len(x), slope, error)


def _centred(values: Floats, weight: Floats, group: NDArray[np.intp]) -> Floats:
    means = np.bincount(group, weight * values) / np.bincount(group, weight)
    centred: Floats = values - means[group]
    return centred
