"""Which variant to show next: policies, priors, and an assignment that never changes its mind.

A policy turns counts into scores; the arm with the highest score is shown. Arms lie on the last axis, the axes before
it are experiments. Random numbers come from the given generator, so a seed repeats a decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threads_agent_dagster.domain.intervals import Floats
from threads_agent_dagster.errors import InvalidInput

Arms = NDArray[np.intp]

CONTENDS = 3.0  # half of 6: who is 6 deviations of both below another is drawn first less than once in a billion times


@dataclass(frozen=True, slots=True)
class Prior:
    """What earlier experiments say about the rates of a new one; strengths count successes, as if seen before."""

    rate: float  # of an experiment
    rate_strength: float
    arm_strength: float  # of an arm's rate relative to its experiment's


def fit_prior(successes: ArrayLike, impressions: ArrayLike, relative: ArrayLike | None = None) -> Prior:
    """Empirical Bayes by the method of moments, sampling noise taken out.

    Shape: (experiments, arms), no impressions where an experiment has fewer arms. `relative` holds predicted rates
    relative to the experiment's; then the strength is that of what they leave unexplained.
    Raises: InvalidInput without two experiments of two arms with successes.
    """
    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    usable = ((n > 0).sum(axis=1) > 1) & (x.sum(axis=1) > 0)
    if usable.sum() < 2:
        raise InvalidInput("a prior takes at least two experiments of two arms with successes", "experiments")
    x, n = x[usable], n[usable]
    expected = n if relative is None else n * np.asarray(relative, dtype=float)[usable]
    rate = x.sum(axis=1) / expected.sum(axis=1)
    arms = (n > 0).sum(axis=1)
    ratio = np.divide(x, expected * rate[:, None], out=np.ones_like(x), where=expected > 0)
    noise = np.divide(1.0, expected * rate[:, None], out=np.zeros_like(x), where=expected > 0).sum(axis=1) / arms
    spread = float(np.mean(((ratio - 1) ** 2).sum(axis=1) / (arms - 1) - noise))
    mean = float(rate.mean())
    between = float(rate.var(ddof=1)) / mean**2 - float(np.mean(1 / x.sum(axis=1)))
    return Prior(mean, 1 / max(between, 1e-3), 1 / max(spread, 1e-3))


def relative_rates(
    successes: ArrayLike, impressions: ArrayLike, prior: Prior, relative: ArrayLike | None = None
) -> tuple[Floats, Floats, Floats]:
    """(mean, strength) of every arm's rate relative to its experiment's, and that experiment's rate (last axis 1).

    Gamma posteriors of a Poisson model. `relative` moves the prior mean of each arm, e.g. by a hook model: 1.2 expects
    20 % more than the experiment's average.
    """
    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    start = np.ones_like(n) if relative is None else np.broadcast_to(np.asarray(relative, dtype=float), n.shape)
    mean = start
    for _ in range(3):  # the experiment's rate and the arms' depend on each other; this has settled
        base = (prior.rate_strength + x.sum(axis=-1, keepdims=True)) / (
            prior.rate_strength / prior.rate + (n * mean).sum(axis=-1, keepdims=True)
        )
        strength = prior.arm_strength + n * base
        mean = (prior.arm_strength * start + x) / strength
    return np.asarray(mean), np.asarray(strength), np.asarray(base)


def forward_scores(
    rng: np.random.Generator,
    successes: ArrayLike,
    impressions: ArrayLike,
    remaining: ArrayLike,
    prior: Prior,
    relative: ArrayLike | None = None,
) -> Floats:
    """Thompson sampling that explores only what the rest of the run can still teach.

    `remaining` impressions (per experiment) bring each arm about `expected` more successes; the deviation of the draw
    is the posterior's times expected / (expected + strength). At rates near 1.5 % plain Thompson sampling explores
    as if the run never ended.
    """
    mean, strength, base = relative_rates(successes, impressions, prior, relative)
    expected = np.asarray(remaining, dtype=float)[..., None] / mean.shape[-1] * base
    deviation = np.sqrt(mean / strength) * expected / (expected + strength)
    scores: Floats = mean + deviation * rng.standard_normal(mean.shape)
    return scores


def thompson_scores(
    rng: np.random.Generator, successes: ArrayLike, impressions: ArrayLike, a: float = 1.0, b: float = 1.0
) -> Floats:
    """One draw from each arm's Beta posterior under a Beta(a, b) prior."""
    x, n = np.asarray(successes), np.asarray(impressions)
    return rng.beta(a + x, b + (n - x))


def thompson_pick(rng: np.random.Generator, successes: NDArray[np.int64], impressions: NDArray[np.int64]) -> int:
    """The arm that one draw of `thompson_scores` puts first; draws only for arms that can be first.

    On the square-root scale a posterior's deviation is at most 0.5 / sqrt(n), so a few roots find those arms.
    """
    low, width = successes.astype(np.float32), impressions.astype(np.float32)
    np.sqrt(low + 1, out=low)
    np.sqrt(width + 2, out=width)
    low -= CONTENDS
    width *= (low / width).max()  # now what a root must reach, CONTENDS above its centre
    contenders = (low + 2 * CONTENDS >= width).nonzero()[0]
    x, n = successes[contenders], impressions[contenders]
    gain, rest = rng.standard_gamma(np.concatenate([x + 1.0, n - x + 1.0])).reshape(2, -1)
    return int(contenders[(gain / (gain + rest)).argmax()])  # a Beta draw is a share of two Gamma draws


def ucb1_scores(successes: ArrayLike, impressions: ArrayLike) -> Floats:
    """Auer, Cesa-Bianchi and Fischer (2002): the mean plus sqrt(2 ln(total) / n); infinite for an arm never shown."""
    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    total = np.maximum(n.sum(axis=-1, keepdims=True), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 0, x / n + np.sqrt(2 * np.log(total) / n), np.inf)


def top_two(rng: np.random.Generator, successes: ArrayLike, impressions: ArrayLike) -> Arms:
    """Russo (2020): half the time the leader of a Thompson draw, half the time the best other arm of a second draw.

    Finds the best arm with fewer impressions than Thompson sampling, at a price while it searches.
    """
    leader = thompson_scores(rng, successes, impressions).argmax(axis=-1)
    second = thompson_scores(rng, successes, impressions)
    np.put_along_axis(second, leader[..., None], -1.0, axis=-1)
    challenger = second.argmax(axis=-1) if second.shape[-1] > 1 else leader
    chosen: Arms = np.where(rng.random(leader.shape) < 0.5, leader, challenger)
    return chosen


def with_floor(rng: np.random.Generator, chosen: ArrayLike, arms: int, floor: float) -> tuple[Arms, NDArray[np.bool_]]:
    """(arm, explored): a share `floor` of the decisions goes to a uniformly drawn arm instead.

    Verdicts are computed from the explored impressions alone: their split is fixed, so the tests stay valid whatever
    the policy does with the rest.
    """
    picks = np.asarray(chosen)
    explored = rng.random(picks.shape) < floor
    return np.where(explored, rng.integers(arms, size=picks.shape), picks), explored


def assign(experiment_id: str, unit_id: str, weights: Sequence[float]) -> int:
    """Sticky fixed split: the arm of a unit, the same in every process and on every machine.

    SHA-256 of `experiment_id NUL unit_id`; its first 8 bytes, big-endian, divided by 2^64 are looked up in the
    cumulated weights.
    Raises: InvalidInput unless some weight is positive and none is negative.
    """
    if not weights or min(weights) < 0 or sum(weights) <= 0:
        raise InvalidInput(f"{list(weights)} is no split", "weights")
    digest = hashlib.sha256(f"{experiment_id}\0{unit_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64 * sum(weights)
    cumulated = 0.0
    for arm, weight in enumerate(weights):
        cumulated += weight
        if position < cumulated:
            return arm
    return max(arm for arm, weight in enumerate(weights) if weight > 0)  # the last sum may round down


@dataclass(frozen=True, slots=True)
class Unit:
    """What is given a variant once and for all; another `seed` gives another draw."""

    experiment_id: str
    unit_id: str
    seed: int = 0

    def generator(self) -> np.random.Generator:
        """Random numbers of this unit, the same in every process."""
        name = f"{self.experiment_id}\0{self.unit_id}\0{self.seed}"
        return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a policy knows of an experiment: counts of its arms, what is left of the run, and what came before it."""

    successes: NDArray[np.int64]
    impressions: NDArray[np.int64]
    weights: Sequence[float]
    remaining: float
    prior: Prior | None = None  # None: nothing is known of other experiments
    relative: Floats | None = None


def choose(policy: str, floor: float, unit: Unit, standing: Standing) -> tuple[int, bool]:
    """(arm, steered). A share `floor` of the units, and all of them under `fixed`, is split as planned.

    Shape: counts (arms). `forward` without a prior draws as `thompson` does.
    Raises: InvalidInput as `assign`, and for an unknown policy.
    """
    rng = unit.generator()
    if policy == "fixed" or rng.random() < floor:
        return assign(unit.experiment_id, unit.unit_id, standing.weights), False
    x, n = standing.successes, standing.impressions
    if policy == "ucb":
        return int(ucb1_scores(x, n).argmax()), True
    if policy == "top_two":
        return int(top_two(rng, x, n)), True
    if policy == "forward" and standing.prior is not None:
        scores = forward_scores(rng, x[None], n[None], [standing.remaining], standing.prior, standing.relative)
        return int(scores[0].argmax()), True
    if policy in ("thompson", "forward"):
        return thompson_pick(rng, x, n), True
    raise InvalidInput(f"{policy!r} is no policy", "policy")


def block_id(persona_id: str, at: datetime) -> str:
    """The unit that is assigned: posts of a persona in one hour of one day share their audience, so they share an arm.

    Raises: InvalidInput for a time without zone.
    """
    if at.tzinfo is None:
        raise InvalidInput("has no time zone", "at")
    return f"{persona_id}|{at:%G-W%V}|{at:%a}|{at:%H}"


def pooled_relative_rates(
    dimensions: Sequence[Mapping[str, str]], successes: ArrayLike, impressions: ArrayLike, strength: float
) -> Floats:
    """What variants of the same dimensions earned, relative to the average; the warm start of a new variant.

    One factor per value of every dimension (hook style, tone, length), each shrunk towards 1 as if `strength` successes
    of an average variant had been seen with it; fitted by turns, so a value is not credited with its company's success.
    """
    x, n = np.asarray(successes, dtype=float), np.asarray(impressions, dtype=float)
    rate = x.sum() / n.sum() if x.sum() else 1.0
    members: dict[tuple[str, str], list[int]] = {}
    for variant, values in enumerate(dimensions):
        for pair in values.items():
            members.setdefault(pair, []).append(variant)
    factors = dict.fromkeys(members, 1.0)
    relative = np.ones(len(n))
    for _ in range(20):
        for pair, variants in members.items():
            others = relative[variants] / factors[pair]
            factor = (strength + x[variants].sum()) / (strength + rate * (n[variants] * others).sum())
            relative[variants], factors[pair] = others * factor, factor
    return relative
