"""P8: full analysis of 100,000 variants beside a loop over beta.ppf; and whether the statistics keep their promises.

Promises: A/A experiments with daily looks, coverage of the intervals, power of the sample-ratio test, comparisons by
posts whose rates vary, and how many naive winners of the Upworthy Research Archive (Matias et al. 2021) survive
correction and sequential testing.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Limit, Row, Size, compare, cpu_seconds
from threads_agent_dagster.domain.experiments import SRM_ALPHA, Plan, analyze
from threads_agent_dagster.domain.intervals import wilson_interval
from threads_agent_dagster.domain.sequential import always_valid_p_value
from threads_agent_dagster.domain.significance import (
    benjamini_hochberg,
    equal_rates_p_value,
    holm,
    sample_ratio_p_value,
)
from threads_agent_dagster.domain.units import compare_units

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "upworthy_experiments.csv"
ALPHA = 0.05
SHOWN_DAYS = (1, 2, 5, 10, 20, 30, 45, 60, 75)  # of the looks; the last one is always shown
Counts = NDArray[np.int64]


def run(size: Size) -> list[Row]:
    full = size is Size.FULL
    rng = np.random.default_rng(11)
    rows = [_speed(rng, arms, 100_000 if full else 400, 5 if full else 1) for arms in (2, 4)]
    rows += _peeking(rng, 2_000 if full else 200, 90 if full else 10)
    rows += [_coverage(rng, 400_000 if full else 4_000), *_coverage_by_size(rng, 100_000 if full else 2_000)]
    rows += [*_sample_ratio_power(rng, 20_000 if full else 500)]
    rows += [*_by_posts(rng, 1_000 if full else 20)]
    return rows + _naive_winners()


def _speed(rng: np.random.Generator, arms: int, variants: int, rounds: int) -> Row:
    shown = rng.integers(500, 20_000, (variants // arms, 1)) + rng.integers(0, 100, (variants // arms, arms))
    clicks = rng.binomial(shown, 0.02)
    _assert_right(rng, shown[:3], clicks[:3])
    looped = max(variants // 50, 10)  # the loop's cost is linear, so a fiftieth is timed and scaled up
    return compare(
        "P8",
        f"full analysis of {variants:,} variants in experiments of {arms}",
        "s",
        subject=lambda: cpu_seconds(lambda: analyze(shown, clicks, Plan())),
        peer=("loop over beta.ppf", lambda: variants / looped * cpu_seconds(lambda: _loop(shown, clicks, looped))),
        floor=("vectorised beta.ppf", lambda: cpu_seconds(lambda: _vectorised(shown, clicks))),
        rounds=rounds,
        limit=Limit(at_most=1 / 40),
    )


def _assert_right(rng: np.random.Generator, shown: Counts, clicks: Counts) -> None:
    """Probabilities of being best as simulated, p-values as SciPy's; also imports what would be timed otherwise."""
    from scipy.stats import chi2_contingency

    found = analyze(shown, clicks, Plan())
    draws = rng.beta(clicks + 1, shown - clicks + 1, (20_000, *shown.shape)).argmax(axis=-1)
    simulated = (draws[..., None] == np.arange(shown.shape[1])).mean(axis=0)
    assert np.allclose(found.p_best, simulated, atol=0.02)
    tables = np.stack([clicks, shown - clicks], axis=1)
    assert np.allclose(found.p_value, [chi2_contingency(table, correction=False).pvalue for table in tables])


def _loop(shown: Counts, clicks: Counts, variants: int) -> list[object]:
    """Nothing but the credible interval of each variant."""
    from scipy.stats import beta

    pairs = zip(clicks.flat[:variants], shown.flat[:variants], strict=True)
    return [beta.ppf([0.025, 0.975], x + 1, n - x + 1) for x, n in pairs]


def _vectorised(shown: Counts, clicks: Counts) -> object:
    from scipy.stats import beta

    return beta.ppf([[[0.025]], [[0.975]]], clicks + 1, shown - clicks + 1)


def _peeking(rng: np.random.Generator, experiments: int, days: int) -> list[Row]:
    """A/A: two arms of one rate (Upworthy's), 200 impressions per arm and day, a look every evening."""
    shown, clicks = np.zeros((2, experiments, 2), dtype=np.int64)
    smallest = {"sequential": np.ones(experiments), "fixed": np.ones(experiments)}
    by_day: list[Row] = []
    for day in range(1, days + 1):
        today = rng.multinomial(400, [0.5, 0.5], experiments)
        shown, clicks = shown + today, clicks + rng.binomial(today, 0.015)
        for name, test in (("sequential", always_valid_p_value), ("fixed", equal_rates_p_value)):
            smallest[name] = np.minimum(smallest[name], test(clicks, shown))
        if day in SHOWN_DAYS and day < days:
            by_day += [_ever(name, day, p) for name, p in smallest.items()]
    once = float((equal_rates_p_value(clicks, shown) <= ALPHA).mean())
    return [
        *by_day,
        _ever("sequential", days, smallest["sequential"], Limit(at_most=ALPHA)),
        _ever("fixed", days, smallest["fixed"], Limit(at_least=ALPHA)),
        Row("A/A", f"of {experiments:,} A/A experiments significant at the end, fixed test", "share", once),
    ]


def _ever(name: str, day: int, smallest: NDArray[np.float64], limit: Limit | None = None) -> Row:
    what = f"of {len(smallest):,} A/A experiments ever significant in {day} daily looks, {name} test"
    share = float((smallest <= ALPHA).mean())
    return Row("A/A", what, "share", share, limit=limit, series=f"A/A {name}", x=day)


def _coverage_by_size(rng: np.random.Generator, variants: int) -> list[Row]:
    """At 1.2 %, by how many successes are to be expected."""
    rows = []
    for expected in (3, 6, 12, 24, 48, 96, 192):
        shown = np.full(variants, round(expected / 0.012))
        low, high = wilson_interval(rng.binomial(shown, 0.012), shown)
        covered = float(((low <= 0.012) & (high >= 0.012)).mean())
        what = f"coverage of the 95 % interval where {expected} successes are expected"
        rows.append(Row("A/A", what, "share", covered, series="coverage", x=expected))
    return rows


def _coverage(rng: np.random.Generator, variants: int) -> Row:
    """Rates and sizes as in the archive: log-normal around 1.2 %, 1,000 to 6,000 impressions."""
    rates = np.minimum(np.exp(rng.normal(np.log(0.012), 0.7, variants)), 1.0)
    shown = rng.integers(1_000, 6_000, variants)
    low, high = wilson_interval(rng.binomial(shown, rates), shown)
    covered = float(((low <= rates) & (rates <= high)).mean())
    return Row("A/A", "coverage of the 95 % interval", "share", covered, limit=Limit(at_least=0.94, at_most=0.96))


def _sample_ratio_power(rng: np.random.Generator, experiments: int) -> list[Row]:
    rows = []
    for split in (0.5, 0.505, 0.51, 0.515, 0.52, 0.53):
        shown = rng.binomial(10_000, split, experiments)
        found = float((sample_ratio_p_value(np.stack([shown, 10_000 - shown], axis=1)) < SRM_ALPHA).mean())
        limit = Limit(at_most=2 * SRM_ALPHA) if split == 0.5 else None
        what = f"sample ratio {split:.1%} : {1 - split:.1%} of 10,000 flagged at {SRM_ALPHA:g}"
        rows.append(Row("A/A", what, "share", found, limit=limit, series="sample ratio", x=split))
    return rows


def _by_posts(rng: np.random.Generator, runs: int, posts: int = 50, shown: int = 1_000) -> Iterator[Row]:
    """Two arms of posts at 1.5 %; half of the variance of their log rates was there before, and seen in 8,000 each."""
    for spread, uplift in ((0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (0.5, 0.3)):
        called = np.zeros(4)
        removed = effect = 0.0
        for _ in range(runs):
            known, own = rng.normal(0, spread * np.sqrt(0.5), (2, 2 * posts))
            treated = rng.permutation(np.arange(2 * posts) < posts)
            n = rng.poisson(shown, 2 * posts)
            x = rng.binomial(n, 0.015 * np.exp(known + own) * np.where(treated, 1 + uplift, 1))
            before = rng.binomial(8 * shown, 0.015 * np.exp(known)) / (8 * shown)
            sums = [[values[~treated].sum(), values[treated].sum()] for values in (x, n)]
            plain, adjusted = compare_units(n, x, treated), compare_units(n, x, treated, before)
            p = [equal_rates_p_value(*sums), always_valid_p_value(*sums), plain.p_value, adjusted.p_value]
            called += np.array(p, dtype=float) <= ALPHA
            removed, effect = removed + adjusted.variance_removed / runs, effect + plain.design_effect / runs
        what = f"of {runs:,} experiments with {2 * posts} posts whose rates vary by {spread:.0%}, uplift {uplift:.0%}"
        for test, share in zip(("fixed", "sequential", "by posts", "by posts with earlier rates"), called, strict=True):
            yield Row("posts", f"{what}: significant at the end, {test}", "share", share / runs)
        yield Row("posts", f"{what}: design effect", "times", effect)
        yield Row("posts", f"{what}: variance that the earlier rates remove", "share", removed)


def _naive_winners() -> list[Row]:
    """Experiments with a pair of headlines at |z| > 1.96, and how many of those stricter rules keep."""
    if not DATA.exists():
        sys.stderr.write(f"skipped: {DATA.name} is not beside this checkout\n")
        return []
    arms: dict[str, list[tuple[int, int]]] = defaultdict(list)
    with DATA.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            arms[line["experiment_id"]].append((int(line["impressions"]), int(line["clicks"])))
    compared = [np.array(counts).T for counts in arms.values() if len(counts) > 1]
    naive, family, overall, sequential, healthy = (
        np.array(column) for column in zip(*map(_judged, compared), strict=True)
    )
    found = benjamini_hochberg(overall) <= ALPHA
    counts = {
        "with two headlines or more": np.ones_like(naive),
        "with a naive winner (any pair with z beyond 1.96)": naive,
        "... surviving Holm over the experiment's pairs": naive & family,
        "... surviving the omnibus test": naive & (overall <= ALPHA),
        "... surviving it and Benjamini-Hochberg over all experiments": naive & found,
        "... surviving the sequential test": naive & (sequential <= ALPHA),
        "... surviving the sequential test with a healthy sample ratio": naive & (sequential <= ALPHA) & healthy,
    }
    return [
        Row("archive", f"of {len(arms):,} experiments {what}", "experiments", float(kept.sum()))
        for what, kept in counts.items()
    ]


def _judged(counts: Counts) -> tuple[bool, bool, float, float, bool]:
    shown, clicks = counts
    pairs = np.array(list(combinations(range(len(shown)), 2)))
    total, clicked = shown[pairs].sum(axis=1), clicks[pairs].sum(axis=1)
    variance = clicked / total * (1 - clicked / total) * (1 / shown[pairs]).sum(axis=1)
    gap = np.abs(np.diff(clicks[pairs] / shown[pairs], axis=1)[:, 0])
    naive = bool((gap > 1.96 * np.sqrt(variance)).any())
    family = bool((holm(equal_rates_p_value(clicks[pairs], shown[pairs])) <= ALPHA).any())
    overall, sequential = float(equal_rates_p_value(clicks, shown)), float(always_valid_p_value(clicks, shown))
    return naive, family, overall, sequential, bool(sample_ratio_p_value(shown) >= SRM_ALPHA)
