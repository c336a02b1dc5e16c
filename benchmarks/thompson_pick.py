"""P8: one Thompson pick among 10,000 arms, beside the Python loop that draws for every arm."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Limit, Row, Size, compare, cpu_seconds
from threads_agent_dagster.domain.allocation import thompson_pick

PICKS = 200  # per sample of the quick side: one pick is too short for the clock


def run(size: Size) -> list[Row]:
    arms, rounds = (10_000, 9) if size is Size.FULL else (500, 2)
    _assert_same_distribution(2_000 if size is Size.SMOKE else 20_000)
    rng = np.random.default_rng(1)
    impressions = rng.integers(1_000, 50_000, arms)
    successes = rng.binomial(impressions, rng.beta(2, 100, arms))
    x, n = successes.tolist(), impressions.tolist()
    row = compare(
        "P8",
        f"Thompson pick of {arms:,} arms (1,000 to 50,000 impressions each)",
        "ms",
        subject=lambda: 1e3 * cpu_seconds(lambda: _repeat(rng, successes, impressions)) / PICKS,
        peer=("loop over random.betavariate", lambda: 1e3 * cpu_seconds(lambda: loop_pick(x, n))),
        floor=("rng.beta of all arms", lambda: 1e3 * cpu_seconds(lambda: plain_pick(rng, successes, impressions))),
        rounds=rounds,
        limit=Limit(at_most=1 / 300),
    )
    return [row]


def loop_pick(successes: list[int], impressions: list[int]) -> int:
    """What is commonly written: a draw per arm, the highest wins."""
    pairs = enumerate(zip(successes, impressions, strict=True))
    return max((random.betavariate(1 + x, 1 + n - x), arm) for arm, (x, n) in pairs)[1]


def plain_pick(rng: np.random.Generator, successes: NDArray[np.int64], impressions: NDArray[np.int64]) -> int:
    return int(rng.beta(1 + successes, 1 + impressions - successes).argmax())


def _repeat(rng: np.random.Generator, successes: NDArray[np.int64], impressions: NDArray[np.int64]) -> None:
    for _ in range(PICKS):
        thompson_pick(rng, successes, impressions)


def _assert_same_distribution(picks: int) -> None:
    """Chi-square test over how often each of 40 arms is picked, against the loop."""
    from scipy.stats import chi2_contingency

    rng = np.random.default_rng(2)
    random.seed(3)
    n = rng.integers(50, 2_000, 40)
    x = rng.binomial(n, 0.05)
    quick = np.bincount([thompson_pick(rng, x, n) for _ in range(picks)], minlength=40)
    loop = np.bincount([loop_pick(x.tolist(), n.tolist()) for _ in range(picks)], minlength=40)
    often = quick + loop >= 20
    assert chi2_contingency([quick[often], loop[often]]).pvalue > 1e-3
