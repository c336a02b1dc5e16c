"""How long to run, and what can be seen in that time.

Sizes are impressions per arm, uplifts relative to the control.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threads_agent_dagster.domain.intervals import Floats
from threads_agent_dagster.domain.sequential import log_evidence
from threads_agent_dagster.errors import InvalidInput

LARGEST = 2**50  # impressions per arm; beyond this nothing is planned

Sufficiency = Callable[[ArrayLike, ArrayLike, float, float, float], NDArray[np.bool_]]


def fixed_suffices(
    baseline: ArrayLike, impressions: ArrayLike, uplift: float, alpha: float, power: float
) -> NDArray[np.bool_]:
    """Whether the two-proportion z test finds the uplift with the given power."""
    old, n = np.asarray(baseline, dtype=float), np.asarray(impressions, dtype=float)
    new = np.minimum(old * (1 + uplift), 1.0)
    pooled = (old + new) / 2
    normal = NormalDist()
    apart = normal.inv_cdf(1 - alpha / 2) * np.sqrt(2 * pooled * (1 - pooled))
    apart += normal.inv_cdf(power) * np.sqrt(old * (1 - old) + new * (1 - new))
    return np.asarray((new != old) & (np.sqrt(n) * np.abs(new - old) >= apart))


def sequential_suffices(
    baseline: ArrayLike, impressions: ArrayLike, uplift: float, alpha: float, power: float
) -> NDArray[np.bool_]:
    """Whether the always-valid test has found the uplift by then with at least the given power.

    Looks at the outcome that is beaten with probability `power`: the gap of the two counts at its lower quantile.
    """
    old, n = np.asarray(baseline, dtype=float), np.asarray(impressions, dtype=float)
    new = np.minimum(old * (1 + uplift), 1.0)
    unlucky = NormalDist().inv_cdf(power) * np.sqrt(n * (old * (1 - old) + new * (1 - new)))
    gap = np.maximum(np.abs(new - old) * n - unlucky, 0.0)
    centre = (old + new) * n / 2
    counts = np.stack([centre - gap / 2, centre + gap / 2], axis=-1).clip(0, n[..., None])
    return np.asarray((gap > 0) & (log_evidence(counts, np.stack([n, n], axis=-1)) >= -math.log(alpha)))


def sample_sizes(
    baselines: ArrayLike, uplift: float, alpha: float, power: float, suffices: Sufficiency = fixed_suffices
) -> Floats:
    """The fewest impressions per arm with which the uplift is found; inf where no number is enough."""
    rates = np.asarray(baselines, dtype=float)
    high = np.ones(rates.shape)
    while (short := ~suffices(rates, high, uplift, alpha, power) & (high <= LARGEST)).any():
        high = np.where(short, high * 2, high)
    low = np.floor(high / 2)
    while ((high - low) > 1).any():
        middle = np.floor((low + high) / 2)
        enough = suffices(rates, middle, uplift, alpha, power)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(high > LARGEST, np.inf, high)


def sample_size(
    baseline: float, uplift: float, alpha: float = 0.05, power: float = 0.8, suffices: Sufficiency = fixed_suffices
) -> int:
    """`sample_sizes` of one rate.

    Raises: InvalidInput where no size is enough.
    """
    _check(baseline, alpha, power)
    if uplift <= -1 or uplift == 0 or baseline * (1 + uplift) > 1:
        raise InvalidInput(f"{uplift} does not lead from {baseline} to another rate in (0, 1]", "mde")
    size = float(sample_sizes(baseline, uplift, alpha, power, suffices))
    if math.isinf(size):
        raise InvalidInput("the uplift is too small to be found", "mde")
    return int(size)


def minimum_detectable_uplift(
    baseline: float, impressions: int, alpha: float = 0.05, power: float = 0.8, suffices: Sufficiency = fixed_suffices
) -> float | None:
    """The smallest positive uplift that `impressions` per arm show; None if even a rate of 1 would go unseen."""
    _check(baseline, alpha, power)
    low, high = 0.0, 1 / baseline - 1
    if not suffices(baseline, impressions, high, alpha, power):
        return None
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if suffices(baseline, impressions, middle, alpha, power) else (middle, high)
    return high


def _check(baseline: float, alpha: float, power: float) -> None:
    for field, value in (("baseline", baseline), ("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise InvalidInput(f"{value} is not between 0 and 1", field)
