"""What the counts say about the rates when every rate was equally likely before: independent Beta(1, 1) posteriors.

Arms lie on the last axis; the axes before it are experiments.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from threads_agent_dagster.domain.intervals import Floats

REACH = 5.0  # standard deviations (on the arcsine scale) that a posterior is followed to either side
ORDERS = (24, 40, 80, 160, 320)  # of the Gauss-Legendre rules; the smallest that resolves the narrowest posterior
NODES_PER_DEVIATION = 1.8
# Where arms are too unlike for any rule, every arm brings its quantiles; the far ones matter for the expected maximum.
_TAIL = np.logspace(-9, -2.5, 20)
SHARES = np.concatenate([_TAIL, (np.arange(128) + 0.5) / 128, 1 - _TAIL])
CHUNK = 1 << 16  # values per working array: stays within a core's cache


def posterior_parameters(successes: ArrayLike, impressions: ArrayLike) -> tuple[Floats, Floats]:
    """(a, b) of the Beta posterior under a uniform prior."""
    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    return x + 1, n - x + 1


def best_arm(successes: ArrayLike, impressions: ArrayLike) -> tuple[Floats, Floats]:
    """(p_best, expected_loss), both of the input's shape.

    p_best: the probability that the arm has the highest rate of its experiment. expected_loss: how much rate is given
    up on average by choosing the arm, E[max over arms] − E[arm].
    """
    a, b = posterior_parameters(successes, impressions)
    arms = a.shape[-1]
    p_best, best_rate = _compare(a.reshape(-1, arms), b.reshape(-1, arms))
    p_best = (p_best / p_best.sum(axis=-1, keepdims=True)).reshape(a.shape)
    loss: Floats = (best_rate.reshape(*a.shape[:-1], 1) - a / (a + b)).clip(0)
    return p_best, loss


def _compare(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """p_best (rows, arms) and E[max] (rows)."""
    deviation = 0.5 / np.sqrt(a + b)
    centre = np.arcsin(np.sqrt(a / (a + b)))
    # The highest rate lies between the highest lower and the highest upper end.
    start = (centre - REACH * deviation).max(axis=-1, keepdims=True).clip(0, None)
    end = (centre + REACH * deviation).max(axis=-1, keepdims=True).clip(None, np.pi / 2)
    contends = centre + REACH * deviation > start
    narrowest = np.where(contends, deviation, np.inf).min(axis=-1, keepdims=True)
    rule = np.searchsorted(ORDERS, NODES_PER_DEVIATION * (end - start) / narrowest)[:, 0]
    p_best, best_rate = np.empty_like(a), np.empty(len(a))
    for index, order in enumerate(ORDERS):
        rows = np.flatnonzero(rule == index)
        step = max(1, CHUNK // (order * a.shape[-1]))
        for part in (rows[i : i + step] for i in range(0, len(rows), step)):
            p_best[part], best_rate[part] = _by_gauss_legendre(order, a[part], b[part], start[part], end[part])
    for row in np.flatnonzero(rule == len(ORDERS)):
        p_best[row], best_rate[row] = _by_quantiles(a[row], b[row])
    return p_best, best_rate


def _by_gauss_legendre(order: int, a: Floats, b: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """Integrates over angles, rate = sin²(angle): there a posterior is near normal, 1 / (2 sqrt(a + b)) wide."""
    from scipy.special import betainc, betaln

    nodes, weights, running = _legendre_rule(order)
    half = (end - start) / 2
    angles = start + half * (nodes + 1)
    sine, cosine = np.sin(angles), np.cos(angles)
    # d rate = 2 sin cos d angle raises the power of both factors by one half.
    density = (2 * a - 1)[..., None] * np.log(sine)[:, None]
    density += (2 * b - 1)[..., None] * np.log(cosine)[:, None]
    density += (np.log(2 * half) - betaln(a, b))[..., None]
    np.exp(density, out=density)
    below: Floats = np.matmul(density, running)
    below += betainc(a, b, np.sin(start) ** 2)[..., None]
    others, everyone = _products(below)
    p_best = np.matmul(density * others, weights)
    best_rate = np.sin(end[:, 0]) ** 2 - 2 * half[:, 0] * ((everyone * sine * cosine) @ weights)
    return p_best, best_rate


def _by_quantiles(a: Floats, b: Floats) -> tuple[Floats, float]:
    """One experiment whose posteriors differ much in width: every arm contributes its own quantiles as nodes."""
    from scipy.special import betainc, betaincinv

    rates = np.sort(np.concatenate([[0.0], betaincinv(a[:, None], b[:, None], SHARES).ravel(), [1.0]]))
    below = np.asarray(betainc(a[:, None], b[:, None], rates), dtype=float)
    others, everyone = (values[0] for values in _products(below[None]))
    p_best: Floats = (np.diff(below) * (others[:, 1:] + others[:, :-1])).sum(axis=-1) / 2
    return p_best, float((np.diff(everyone) * (rates[1:] + rates[:-1])).sum() / 2)


def _products(below: Floats) -> tuple[Floats, Floats]:
    """For every arm the product over the other arms (rows, arms, nodes), and the product over all (rows, nodes)."""
    arms = below.shape[1]
    if arms == 2:
        return below[:, ::-1], below[:, 0] * below[:, 1]
    before, after = np.ones_like(below), np.ones_like(below)
    for arm in range(1, arms):
        np.multiply(before[:, arm - 1], below[:, arm - 1], out=before[:, arm])
        np.multiply(after[:, arms - arm], below[:, arms - arm], out=after[:, arms - arm - 1])
    everyone: Floats = before[:, -1] * below[:, -1]
    return before * after, everyone


@cache
def _legendre_rule(order: int) -> tuple[Floats, Floats, Floats]:
    """Nodes and weights on [-1, 1], and the matrix that turns values at the nodes into integrals from -1 to them."""
    from scipy.special import eval_legendre

    nodes, weights = np.polynomial.legendre.leggauss(order)
    degrees = np.arange(order)[:, None]
    value = eval_legendre(degrees, nodes)
    lower = np.where(degrees == 0, -1.0, eval_legendre(np.maximum(degrees - 1, 0), nodes))
    integral = (eval_legendre(degrees + 1, nodes) - lower) / 2
    return nodes, weights, weights[:, None] * (value.T @ integral)
