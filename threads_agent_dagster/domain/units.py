"""Comparisons where posts, not impressions, are the unit; with the variance that an earlier rate explains taken out.

Impressions of one post share its hour, its persona and its luck, so they vary together: a test that counts impressions
calls too much significant. Here every unit is one observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from threads_agent_dagster.domain.intervals import Floats
from threads_agent_dagster.domain.significance import cuped
from threads_agent_dagster.errors import InvalidInput

FEWEST = 5  # units of either arm; below it, how much units vary is a guess


@dataclass(frozen=True, slots=True)
class Comparison:
    """Treatment against control, rates per impression; 95 % unless asked otherwise."""

    control_rate: float
    treatment_rate: float
    difference: float
    low: float
    high: float
    p_value: float  # two-sided, for one look
    design_effect: float  # how many times the variance is what independent impressions would have, before adjustment
    variance_removed: float  # share that the earlier rates explain; 0 without them


def compare_units(
    impressions: ArrayLike,
    successes: ArrayLike,
    treated: ArrayLike,
    before: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Comparison:
    """Rates of two arms by their units: the delta method for a ratio, Welch's t, CUPED with the units' earlier rates.

    All of shape (units). `before` is a rate that was measured before the unit was assigned; its slope is common to
    both arms, so that the adjustment cannot favour one (Deng, Xu, Kohavi and Walker 2013).

    Raises: InvalidInput with fewer than FEWEST units in an arm, or without a success, failure or impression to compare.
    """
    from scipy.stats import t

    n, x = np.asarray(impressions, dtype=float), np.asarray(successes, dtype=float)
    arms = np.asarray(treated, dtype=bool)
    if min(int(arms.sum()), int((~arms).sum())) < FEWEST:
        raise InvalidInput(f"fewer than {FEWEST} units in an arm", "unit_id")
    rates = np.array([x[arm].sum() / max(n[arm].sum(), 1) for arm in (~arms, arms)])
    pooled = x.sum() / max(n.sum(), 1)
    if not 0 < pooled < 1 or min(n[~arms].sum(), n[arms].sum()) == 0:
        raise InvalidInput(
            "nothing to compare: no impressions in an arm, or no success or no failure at all", "successes"
        )
    excess = x - np.where(arms, rates[1], rates[0]) * n
    shift = np.zeros_like(n) if before is None else _explained(excess, n, np.asarray(before, dtype=float))
    variances, freedom = _variances(excess - _centred(shift, n, arms), n, arms)
    plain, _ = _variances(excess, n, arms)
    difference = rates[1] - rates[0] - (shift[arms].sum() / n[arms].sum() - shift[~arms].sum() / n[~arms].sum())
    error = math.sqrt(variances.sum())
    reach = float(t.isf(alpha / 2, freedom)) * error
    statistic = abs(difference) / error if error else math.inf if difference else 0.0
    independent = sum(pooled * (1 - pooled) / n[arm].sum() for arm in (~arms, arms))
    return Comparison(
        control_rate=float(rates[0]),
        treatment_rate=float(rates[1]),
        difference=float(difference),
        low=float(difference - reach),
        high=float(difference + reach),
        p_value=float(2 * t.sf(statistic, freedom)),
        design_effect=float(plain.sum() / independent),
        variance_removed=float(1 - variances.sum() / plain.sum()) if plain.sum() else 0.0,
    )


def _explained(excess: Floats, n: Floats, before: Floats) -> Floats:
    """Successes of each unit that its earlier rate foretells, beyond those of a unit of mean earlier rate."""
    adjusted, _ = cuped(excess, n * (before - (n @ before) / n.sum()))
    return excess - adjusted


def _centred(shift: Floats, n: Floats, arms: ArrayLike) -> Floats:
    """The shift without its mean per impression in each arm, which moves the difference and not the variance."""
    treated = np.asarray(arms, dtype=bool)
    means = [shift[arm].sum() / n[arm].sum() for arm in (~treated, treated)]
    return np.asarray(shift - n * np.where(treated, means[1], means[0]))


def _variances(residual: Floats, n: Floats, arms: ArrayLike) -> tuple[Floats, float]:
    """Of the two rates, and Welch's degrees of freedom."""
    treated = np.asarray(arms, dtype=bool)
    found, units = np.empty(2), np.empty(2)
    for index, arm in enumerate((~treated, treated)):
        units[index] = arm.sum()
        found[index] = (residual[arm] ** 2).sum() * units[index] / (units[index] - 1) / n[arm].sum() ** 2
    freedom = found.sum() ** 2 / max(float((found**2 / (units - 1)).sum()), np.finfo(float).tiny)
    return found, max(float(freedom), 1.0)
