"""Predicted against actual: how often the hook that was expected to win did win."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.hooks import PredictedLogits, win_probability

Floats = NDArray[np.float64]

SIGNIFICANT: Final = 1.96  # |z| from which on a measured difference counts as one
BINS: Final = (0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 1.0)  # of the favourite's predicted chance
FEWEST_EXPERIMENTS: Final = 10  # below it no interval: resampling a handful of experiments says nothing
RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Measured:
    """One experiment: what was predicted of its hooks, and what readers did. Shapes: (hooks,)."""

    predicted: PredictedLogits
    impressions: Floats
    successes: Floats


@dataclass(frozen=True)
class Pairs:
    """Pairs of hooks that were measured apart. Shapes: (pairs,).

    `experiment` counts from 0; `chance` that the favourite truly wins, 0.5 to 1; `expected` that it measures higher
    too, with so few readers; `right` is 1 where it did, 0 where it did not, 0.5 where there was no favourite.
    """

    experiment: NDArray[np.int64]
    chance: Floats
    expected: Floats
    right: Floats
    z: Floats

    def where(self, wanted: NDArray[np.bool_]) -> Pairs:
        return Pairs(
            self.experiment[wanted], self.chance[wanted], self.expected[wanted], self.right[wanted], self.z[wanted]
        )


@dataclass(frozen=True)
class Calibration:
    """How predictions of a chance from `chance_from` to `chance_to` came true.

    `share_low` and `share_high`: a 95 % interval of `share_right`, resampled by experiment, None where these are few.
    `brier` and `log_loss` score the predicted chance; a coin has 0.25 and 0.693.
    """

    chance_from: float
    chance_to: float
    experiments: int
    pairs: int
    mean_chance: float
    expected_right: float
    share_right: float
    share_low: float | None
    share_high: float | None
    brier: float
    log_loss: float


def pairs_of(experiments: Sequence[Measured]) -> Pairs:
    """Every pair of hooks of one experiment whose measured rates differ; hooks that nobody saw have none."""
    found = [np.empty((5, 0)), *(_pairs_of(number, one) for number, one in enumerate(experiments))]
    experiment, chance, expected, right, z = np.hstack(found)
    return Pairs(experiment.astype(np.int64), chance, expected, right, z)


def _pairs_of(number: int, one: Measured) -> Floats:
    """Shape: (5, pairs), the rows as in `Pairs`."""
    from scipy.special import ndtr

    first, second = np.triu_indices(len(one.impressions), 1)
    seen = (one.impressions[first] > 0) & (one.impressions[second] > 0)
    first, second = first[seen], second[seen]
    n1, n2, s1, s2 = (of[at] for of in (one.impressions, one.successes) for at in (first, second))
    rate = (s1 + s2) / (n1 + n2)
    error = np.sqrt(rate * (1 - rate) * (1 / n1 + 1 / n2))
    z = np.divide(s1 / n1 - s2 / n2, error, out=np.zeros_like(rate), where=error > 0)
    chance = win_probability(one.predicted)[first, second]
    gap = one.predicted.mean[first] - one.predicted.mean[second]
    pooled = (one.successes.sum() + 0.5) / (one.impressions.sum() + 1)
    sampling = (1 / n1 + 1 / n2) / (pooled * (1 - pooled))
    unsure = np.square(one.predicted.sd[first]) + np.square(one.predicted.sd[second])
    right = np.where(gap == 0, 0.5, gap * z > 0)
    rows = [np.full(len(z), number), np.maximum(chance, 1 - chance), ndtr(np.abs(gap) / np.sqrt(unsure + sampling))]
    return np.array([*rows, right, z])[:, z != 0]


def calibrate(pairs: Pairs) -> Iterator[Calibration]:
    """All pairs together first, then each bin that has any; nothing without pairs."""
    yield from _judged(pairs, BINS[0], BINS[-1])
    for low, high in itertools.pairwise(BINS):
        inside = (pairs.chance >= low) & ((pairs.chance < high) | (high == BINS[-1]))
        yield from _judged(pairs.where(inside), low, high)


def _judged(pairs: Pairs, chance_from: float, chance_to: float) -> Iterator[Calibration]:
    if not len(pairs.right):
        return
    experiments = len(np.unique(pairs.experiment))
    low, high = _interval(pairs) if experiments >= FEWEST_EXPERIMENTS else (None, None)
    chance = np.clip(pairs.chance, None, 1 - 1e-12)
    losses = pairs.right * np.log(chance) + (1 - pairs.right) * np.log(1 - chance)
    yield Calibration(
        chance_from=chance_from,
        chance_to=chance_to,
        experiments=experiments,
        pairs=len(pairs.right),
        mean_chance=float(pairs.chance.mean()),
        expected_right=float(pairs.expected.mean()),
        share_right=float(pairs.right.mean()),
        share_low=low,
        share_high=high,
        brier=float(np.square(pairs.chance - pairs.right).mean()),
        log_loss=float(-losses.mean()),
    )


def _interval(pairs: Pairs) -> tuple[float, float]:
    """Pairs of one experiment share its hooks, so experiments are drawn, not pairs."""
    _, member = np.unique(pairs.experiment, return_inverse=True)
    hits, sizes = np.bincount(member, pairs.right), np.bincount(member)
    draws = np.random.default_rng(0).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), RESAMPLES)
    low, high = np.quantile((draws @ hits) / (draws @ sizes), [0.025, 0.975])
    return float(low), float(high)
