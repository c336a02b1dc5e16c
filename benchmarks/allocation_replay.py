"""How much of the gap between uniform and oracle allocation each policy earns on real headline experiments.

Arms are the headlines of the Upworthy Research Archive (Matias et al. 2021), Bernoulli at their real click rates; a run
has 200 or 1,000 impressions per arm and is decided in 200 steps. Whatever is fitted (priors, hook model) is fitted to
other experiments: five folds that share no text. Intervals are bootstrapped by experiment.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Limit, Row, Size
from threads_agent_dagster.domain import allocation
from threads_agent_dagster.domain.allocation import Prior
from threads_agent_dagster.domain.significance import equal_rates_p_value

Floats = NDArray[np.float64]
Arms = NDArray[np.intp]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "upworthy_experiments.csv"
HORIZONS = (200, 1_000)  # impressions per arm
GOALS = (0.40, 0.54)
STEPS = 200
FLOOR = 0.1


@dataclass(frozen=True)
class Archive:
    """Experiments (rows) with two or more headlines; rates are NaN beyond an experiment's arms."""

    rates: Floats
    impressions: Floats
    fold: NDArray[np.int64]
    relative: Floats | None  # rates relative to the experiment's as the hook model predicts them, out of fold


@dataclass
class Run:
    """Experiments of one fold and one number of arms, `seeds` times each, while they are shown."""

    rng: np.random.Generator
    impressions: Floats
    successes: Floats
    remaining: Floats
    prior: Prior
    relative: Floats | None


@dataclass(frozen=True)
class Outcome:
    """`share` of the gap, per run the impressions-weighted rate, and p-values of the totals and of the floor's part."""

    earned: Floats
    p_all: Floats
    p_explored: Floats


Policy = Callable[[Run], Arms]


def explore_then_commit(run: Run) -> Arms:
    """The first 30 % evenly, then the best so far."""
    shown = run.impressions.sum(axis=1)
    exploring = shown < 0.3 * (shown + run.remaining)
    rates = run.successes / np.maximum(run.impressions, 1)
    return np.where(exploring, run.impressions.argmin(axis=1), rates.argmax(axis=1))


def ucb1(run: Run) -> Arms:
    return allocation.ucb1_scores(run.successes, run.impressions).argmax(axis=1)


def thompson(run: Run) -> Arms:
    return allocation.thompson_scores(run.rng, run.successes, run.impressions).argmax(axis=1)


def thompson_fitted(run: Run) -> Arms:
    a = run.prior.rate_strength
    return allocation.thompson_scores(run.rng, run.successes, run.impressions, a, a / run.prior.rate).argmax(axis=1)


def forward(run: Run) -> Arms:
    return _forward(run, None)


def forward_with_hook(run: Run) -> Arms:
    return _forward(run, run.relative)


def _forward(run: Run, relative: Floats | None) -> Arms:
    scores = allocation.forward_scores(run.rng, run.successes, run.impressions, run.remaining, run.prior, relative)
    return scores.argmax(axis=1)


def hook_alone(run: Run) -> Arms:
    assert run.relative is not None
    return run.relative.argmax(axis=1)


def simulate(policy: Policy, rates: Floats, run: Run, per_arm: int, floor: float = 0.0) -> Outcome:
    """Shape: rates (rows, arms). A step shows one arm to 1/200 of the run's impressions."""
    rows, arms = np.arange(len(rates)), rates.shape[1]
    ends = np.floor(per_arm * arms * np.arange(STEPS + 1) / STEPS)
    explored = np.zeros((2, *rates.shape))
    for shown in np.diff(ends):
        arm, at_random = allocation.with_floor(run.rng, policy(run), arms, floor)
        clicks = run.rng.binomial(int(shown), rates[rows, arm])
        run.impressions[rows, arm] += shown
        run.successes[rows, arm] += clicks
        run.remaining -= shown
        explored[0, rows, arm] += shown * at_random
        explored[1, rows, arm] += clicks * at_random
    earned = (run.impressions * rates).sum(axis=1) / run.impressions.sum(axis=1)
    return Outcome(
        earned, equal_rates_p_value(run.successes, run.impressions), equal_rates_p_value(explored[1], explored[0])
    )


def replay(
    archive: Archive, policy: Policy, per_arm: int, seeds: int, floor: float = 0.0, null: bool = False
) -> Outcome:
    """Of all experiments, (experiments, seeds). `null` gives all arms of an experiment its mean rate."""
    parts = [np.full((len(archive.rates), seeds), np.nan) for _ in range(3)]
    for rows, prior, hooked in _alike(archive, policy is forward_with_hook):
        arms = int(np.isfinite(archive.rates[rows[0]]).sum())
        rates = np.repeat(archive.rates[rows, :arms], seeds, axis=0)
        if null:
            rates = np.broadcast_to(rates.mean(axis=1, keepdims=True), rates.shape)
        relative = None if hooked is None else np.repeat(hooked[:, :arms], seeds, axis=0)
        empty = np.zeros((2, *rates.shape))
        rng = np.random.default_rng([7, per_arm, int(rows[0])])
        run = Run(rng, empty[0], empty[1], np.full(len(rates), float(per_arm * arms)), prior, relative)
        found = simulate(policy, rates, run, per_arm, floor)
        for part, values in zip(parts, (found.earned, found.p_all, found.p_explored), strict=True):
            part[rows] = values.reshape(len(rows), seeds)
    return Outcome(*parts)


def _alike(archive: Archive, hooked: bool) -> Iterator[tuple[NDArray[np.intp], Prior, Floats | None]]:
    """Rows of one fold and number of arms, with the prior of the other folds and the rows' predictions."""
    arms = np.isfinite(archive.rates).sum(axis=1)
    for fold in np.unique(archive.fold):
        prior = _prior(archive, archive.fold != fold, hooked)
        for size in np.unique(arms[archive.fold == fold]):
            rows = np.flatnonzero((archive.fold == fold) & (arms == size))
            yield rows, prior, None if archive.relative is None else archive.relative[rows]


def _prior(archive: Archive, known: NDArray[np.bool_], hooked: bool) -> Prior:
    """Fitted to a history that is drawn from the real rates, as all that is replayed."""
    rates, shown = np.nan_to_num(archive.rates[known]), archive.impressions[known].astype(np.int64)
    clicks = np.random.default_rng(5).binomial(shown, rates)
    relative = np.nan_to_num(archive.relative[known]) if hooked and archive.relative is not None else None
    return allocation.fit_prior(clicks, shown, relative)


def share_of_gap(archive: Archive, earned: Floats, resamples: int = 2_000) -> tuple[float, float, float]:
    """(share, low, high): what is earned over uniform, as a share of what an oracle earns over it; 95 % interval."""
    uniform, oracle = np.nanmean(archive.rates, axis=1), np.nanmax(archive.rates, axis=1)
    gained, gap = earned.mean(axis=1) - uniform, oracle - uniform
    drawn = np.random.default_rng(6).integers(len(gap), size=(resamples, len(gap)))
    low, high = np.quantile(gained[drawn].sum(axis=1) / gap[drawn].sum(axis=1), [0.025, 0.975])
    return float(gained.sum() / gap.sum()), float(low), float(high)


def read_archive(path: Path, hooks: bool) -> Archive:
    """`hooks` embeds all headlines (minutes) and predicts each from a model that saw none of its texts."""
    from threads_agent_dagster.training.hooks import read_experiments

    data = read_experiments(path)
    order = np.argsort(data.experiment, kind="stable")
    members = [ids for ids in np.split(order, np.cumsum(np.bincount(data.experiment))[:-1]) if len(ids) > 1]
    shape = (len(members), max(map(len, members)))
    columns = [data.clicks / data.impressions, data.impressions]
    if hooks:
        columns.append(np.exp(out_of_fold_logits(path)))
    tables = []
    for column in columns:
        tables.append(np.full(shape, np.nan))
        for row, ids in enumerate(members):
            tables[-1][row, : len(ids)] = column[ids]
    relative = tables[2] / np.nanmean(tables[2], axis=1, keepdims=True) if hooks else None
    fold = data.share("fold")[[ids[0] for ids in members]]
    return Archive(tables[0], np.nan_to_num(tables[1]), fold, relative)


def out_of_fold_logits(path: Path) -> Floats:
    """Predicted log-odds of every headline, by the packaged model's recipe."""
    from threads_agent_dagster.domain.hooks import describe
    from threads_agent_dagster.training import hooks as training

    data = training.read_experiments(path)
    described = describe(data.hooks, data.bodies)
    rows = training.untrained(described, 0.0).design(described)
    everything = np.ones(len(rows), dtype=np.bool_)
    return training.out_of_fold(rows, data, everything, training.per_column(training.PRIOR_VARIANCES))


def run(size: Size) -> list[Row]:
    if not DATA.exists():
        sys.stderr.write(f"skipped: {DATA.name} is not beside this checkout\n")
        return []
    full = size is Size.FULL
    archive = read_archive(DATA, hooks=full)
    seeds = 20 if full else 1
    policies: list[tuple[str, Policy, float]] = [
        ("explore 30 %, then commit", explore_then_commit, 0.0),
        ("UCB1", ucb1, 0.0),
        ("Thompson, Beta(1, 1)", thompson, 0.0),
        ("Thompson, fitted prior", thompson_fitted, 0.0),
        ("forward-looking", forward, 0.0),
    ]
    if full:
        policies += [
            ("hook model alone", hook_alone, 0.0),
            ("forward-looking + hook model", forward_with_hook, 0.0),
            (f"the same with a floor of {FLOOR:.0%}", forward_with_hook, FLOOR),
        ]
    rows = [_row(archive, *policy, horizon, seeds) for policy in policies for horizon in HORIZONS[: 2 if full else 1]]
    return rows + [row for horizon in HORIZONS[: 2 if full else 0] for row in _false_winners(archive, horizon, seeds)]


def _row(archive: Archive, name: str, policy: Policy, floor: float, per_arm: int, seeds: int) -> Row:
    share, low, high = share_of_gap(archive, replay(archive, policy, per_arm, seeds, floor).earned)
    goal = dict(zip(HORIZONS, GOALS, strict=True))[per_arm]
    return Row(
        goal="replay",
        what=f"{name}, {per_arm:,} per arm",
        unit="of the gap",
        value=share,
        low=low,
        high=high,
        series=name,
        x=per_arm,
        limit=Limit(at_least=goal) if name == "forward-looking + hook model" else None,
        samples=seeds,
    )


def _false_winners(archive: Archive, per_arm: int, seeds: int) -> list[Row]:
    """What the floor buys: replays in which all arms of an experiment have one rate."""
    found = replay(archive, forward, per_arm, seeds, FLOOR, null=True)
    named = (("all impressions", found.p_all), ("the floor's impressions", found.p_explored))
    return [
        Row(
            goal="replay",
            what=f"false winners at 5 %, equal arms, {per_arm:,} per arm, test on {name}",
            unit="of the experiments",
            value=float((p <= 0.05).mean()),
            samples=seeds,
        )
        for name, p in named
    ]
