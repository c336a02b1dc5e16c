"""Tests and intervals that stay valid however often, and whenever, one looks.

Under the null hypothesis a success is as likely to come from an arm as an impression is. A Dirichlet mixture over other
splits gives a test martingale (Lindon and Malek 2022, "Anytime-valid inference for multinomial count data"): the chance
that its evidence ever exceeds 1 / alpha is at most alpha (Ville 1939). Rates may drift over time, the split of
impressions must not. Arms lie on the last axis; the axes before it are experiments.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from threads_agent_dagster.domain.intervals import Floats

SPREAD = 0.15  # prior: expected standard deviation of an arm's rate around the experiment's, as a share of it
BOTH_STREAMS = 0.25  # prior weight of using failures as well, which pays where rates are high


def always_valid_p_value(successes: ArrayLike, impressions: ArrayLike, spread: float = SPREAD) -> Floats:
    """Two-sided p that all arms share one rate, one per experiment; safe under peeking, 1 before any success."""
    return np.exp(-np.maximum(log_evidence(successes, impressions, spread), 0.0))


def log_evidence(successes: ArrayLike, impressions: ArrayLike, spread: float = SPREAD) -> Floats:
    """Natural logarithm of the e-value against equal rates, one per experiment."""
    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    total = n.sum(axis=-1, keepdims=True)
    share = np.divide(n, total, out=np.ones_like(n), where=n > 0)
    concentration = np.maximum((n > 0).sum(axis=-1) - 1, 1) / spread**2
    by_successes = _log_mixture_ratio(x, share, concentration)
    by_failures = _log_mixture_ratio(n - x, share, concentration)
    return by_successes + np.logaddexp(math.log(1 - BOTH_STREAMS), math.log(BOTH_STREAMS) + by_failures)


def _log_mixture_ratio(counts: Floats, share: Floats, concentration: Floats) -> Floats:
    """Dirichlet-multinomial against multinomial with the given shares."""
    from scipy.special import gammaln

    prior = concentration[..., None] * share
    arms = gammaln(prior + counts) - gammaln(prior) - counts * np.log(share)
    ratio: Floats = arms.sum(axis=-1) + gammaln(concentration) - gammaln(concentration + counts.sum(axis=-1))
    return ratio


def ratio_confidence_sequence(
    successes: ArrayLike, impressions: ArrayLike, alpha: float = 0.05, spread: float = SPREAD
) -> tuple[Floats, Floats]:
    """Lower and upper bound of rate 2 / rate 1 for pairs on the last axis; (0, inf) before any success.

    The chance that the bounds ever miss the ratio is at most alpha. Given a success of either arm, that it came from
    the second is a coin whose bias determines the ratio.
    """
    from scipy.special import betaln

    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    share = np.divide(
        n, n.sum(axis=-1, keepdims=True), out=np.full_like(n, 0.5), where=n.min(axis=-1, keepdims=True) > 0
    )
    prior = share / spread**2
    mixture = betaln(*np.moveaxis(prior + x, -1, 0)) - betaln(*np.moveaxis(prior, -1, 0))
    low, high = _likely_biases(x[..., 1], x[..., 0], mixture + math.log(alpha))
    with np.errstate(divide="ignore"):
        odds = share[..., 0] / share[..., 1]
        return low / (1 - low) * odds, high / (1 - high) * odds


def _likely_biases(heads: Floats, tails: Floats, threshold: Floats) -> tuple[Floats, Floats]:
    """The coin biases whose log-likelihood reaches the threshold: an interval around heads / (heads + tails)."""
    from scipy.special import xlog1py, xlogy

    tosses = heads + tails
    peak = np.divide(heads, tosses, out=np.full_like(heads, 0.5), where=tosses > 0)
    bounds = []
    for edge in (0.0, 1.0):
        outside, inside = np.full_like(peak, edge), peak
        for _ in range(60):  # halvings: to the last bit of a double
            middle = (outside + inside) / 2
            likely = xlogy(heads, middle) + xlog1py(tails, -middle) >= threshold
            inside, outside = np.where(likely, middle, inside), np.where(likely, outside, middle)
        bounds.append(np.where((heads if edge == 0 else tails) == 0, edge, inside))
    return bounds[0], bounds[1]
