"""Which variant works, how sure that is, and what to do about it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threads_agent_dagster.domain import power, sequential, significance
from threads_agent_dagster.domain.intervals import Floats, ratio_interval, wilson_interval
from threads_agent_dagster.domain.posterior import best_arm
from threads_agent_dagster.domain.power import Sufficiency
from threads_agent_dagster.errors import InvalidInput

Counts = NDArray[np.int64]

# The order is that of the codes in `Analysis.verdict`.
VERDICTS = ("ship", "roll back", "keep running", "no evidence", "unhealthy")
SHIP, ROLL_BACK, KEEP_RUNNING, NO_EVIDENCE, UNHEALTHY = range(5)
SEQUENTIAL, FIXED = "sequential", "fixed"
DECISIONS = (VERDICTS[SHIP], VERDICTS[ROLL_BACK], VERDICTS[NO_EVIDENCE])
SRM_ALPHA = 0.001  # customary for sample-ratio checks, which run on every look (Fabijan et al. 2019)
LARGEST = 10**12  # counts beyond it cancel too many of a double's digits: at 1e15 p_best is wrong by 0.04
POLICIES = ("fixed", "thompson", "top_two", "ucb", "forward")


@dataclass(frozen=True, slots=True)
class VariantStatistics:
    """One entry per variant; NaN (store NULL) where a variant has no impressions."""

    mean: Floats  # successes per impression
    variance: Floats  # of the outcome (0 or 1) of a single impression; that of the mean is variance / impressions
    ci_low: Floats  # Wilson interval of the mean
    ci_high: Floats
    confidence_level: Floats  # coverage of [ci_low, ci_high], e.g. 0.95; says nothing about beating another variant


def validate_counts(impressions: ArrayLike, successes: ArrayLike) -> tuple[Counts, Counts]:
    """Both as int64 arrays of one shape.

    Raises: InvalidInput for what is negative, not whole or beyond LARGEST, and for more successes than impressions.
    """
    n, x = _whole(impressions, "impressions"), _whole(successes, "successes")
    if n.shape != x.shape:
        raise InvalidInput(f"{x.size} values for {n.size} values of impressions", "successes")
    if (above := np.flatnonzero(x > n)).size:
        first = above[0]
        raise InvalidInput(f"{x.flat[first]} is more than the {n.flat[first]} impressions", "successes")
    return n, x


def _whole(values: ArrayLike, field: str) -> Counts:
    given = np.asarray(values)
    if given.dtype.kind not in "iuf" and given.size:
        raise InvalidInput("expected whole numbers", field)
    counts = given.astype(float)
    if (wrong := np.flatnonzero(~(counts >= 0) | (counts != np.floor(counts)))).size:
        raise InvalidInput(f"{given.flat[wrong[0]]} is not a whole number of 0 or more", field)
    if (above := np.flatnonzero(counts > LARGEST)).size:
        raise InvalidInput(f"{given.flat[above[0]]} is more than {LARGEST}", field)
    return counts.astype(np.int64)


def variant_statistics(impressions: ArrayLike, successes: ArrayLike, alpha: float = 0.05) -> VariantStatistics:
    """What `variant_performance` stores beside the counts.

    Raises: InvalidInput as `validate_counts`.
    """
    n, x = validate_counts(impressions, successes)
    measured = n > 0
    mean = np.divide(x, n, out=np.full(n.shape, np.nan), where=measured)
    low, high = wilson_interval(x, n, alpha)
    return VariantStatistics(mean, mean * (1 - mean), low, high, np.where(measured, 1 - alpha, np.nan))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A harm, counted per impression, that a winner may raise by at most this much, relative to the control."""

    metric: str
    tolerated: float  # 0.05: up to 5 % more

    def __post_init__(self) -> None:
        if not 0 <= self.tolerated < math.inf:
            raise InvalidInput(f"{self.tolerated} is negative", "guardrails")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed before the first impression; a changed plan is a new experiment."""

    metric: str = "success_rate"
    alpha: float = 0.05  # chance of a false winner or loser, over all comparisons with the control
    power: float = 0.8
    mde: float = 0.1  # smallest uplift over the control that is worth finding, relative
    stopping_rule: str = SEQUENTIAL  # may be looked at any time; `fixed` decides once, at the horizon
    horizon: int | None = None  # impressions per variant; None: what mde and power ask for at the observed rate
    weights: tuple[float, ...] | None = None  # planned split of the impressions in the arms' order; None: equal
    guardrails: tuple[Tolerance, ...] = ()
    srm_alpha: float = SRM_ALPHA  # a split less likely than this is no accident
    minimum_sample: int = 0  # impressions of every variant before anything is decided
    stale_days: float = 7.0  # data that stopped coming this long ago judge nothing
    policy: str = "fixed"  # how impressions are given out, one of POLICIES
    floor: float = 0.1  # share that a policy other than `fixed` still splits as planned; verdicts use these alone

    def __post_init__(self) -> None:
        for field in ("alpha", "power", "srm_alpha", "floor"):
            if not 0 < getattr(self, field) < 1:
                raise InvalidInput(f"{getattr(self, field)} is not between 0 and 1", field)
        for field in ("mde", "stale_days"):
            if not 0 < getattr(self, field) < math.inf:
                raise InvalidInput(f"{getattr(self, field)} is not positive", field)
        if self.stopping_rule not in (SEQUENTIAL, FIXED):
            raise InvalidInput(f"{self.stopping_rule!r} is neither {SEQUENTIAL} nor {FIXED}", "stopping_rule")
        if self.policy not in POLICIES:
            raise InvalidInput(f"{self.policy!r} is none of {', '.join(POLICIES)}", "policy")
        if self.horizon is not None and self.horizon < 1:
            raise InvalidInput(f"{self.horizon} is not positive", "horizon")
        if self.minimum_sample < 0:
            raise InvalidInput(f"{self.minimum_sample} is negative", "minimum_sample")
        if self.weights is not None and not all(0 < weight < math.inf for weight in self.weights):
            raise InvalidInput(f"{list(self.weights)} is no split", "weights")

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The plan that was stored as JSON; what it leaves out has its default, what is no part of a plan is ignored.

        Raises: InvalidInput for values that make no plan.
        """
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        if known.get("weights") is not None:
            known["weights"] = tuple(known["weights"])
        known["guardrails"] = tuple(Tolerance(**one) for one in known.get("guardrails", ()))
        return cls(**known)

    @property
    def test(self) -> str:
        """Name and constants of the test that decides."""
        if self.stopping_rule == FIXED:
            return f"pearson-chi2/fisher(expected<{significance.COCHRAN:g})+holm"
        return f"dirichlet-multinomial-e-process(spread={sequential.SPREAD:g})+holm"

    @property
    def suffices(self) -> Sufficiency:
        """The sample-size rule that goes with the stopping rule."""
        return power.fixed_suffices if self.stopping_rule == FIXED else power.sequential_suffices

    def sha256(self) -> str:
        """Hash of everything that decides, the test's name included.

        Fields that later versions added count once they differ from their default: plans frozen before keep their hash.
        """
        default = {field.name: field.default for field in fields(self)}
        decides = {
            name: value
            for name, value in asdict(self).items()
            if name not in _ADDED or getattr(self, name) != default[name]
        }
        return hashlib.sha256(canonical_json({**decides, "test": self.test}).encode()).hexdigest()


_ADDED = frozenset({"guardrails", "srm_alpha", "minimum_sample", "stale_days", "policy", "floor"})


def canonical_json(value: object) -> str:
    """The one spelling of a value: sorted keys, no spaces, shortest floats. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Analysis:
    """Experiments with the same number of arms: arrays (experiments, arms) or (experiments)."""

    impressions: Counts
    successes: Counts
    rate: Floats
    ci_low: Floats
    ci_high: Floats
    p_best: Floats
    expected_loss: Floats
    p_value: Floats
    p_value_sequential: Floats
    srm_p: Floats
    adjusted_p: Floats  # (experiments, arms − 1) against the control by the plan's stopping rule, Holm
    verdict: NDArray[np.int8]  # index into VERDICTS


def analyze(impressions: ArrayLike, successes: ArrayLike, plan: Plan, weights: ArrayLike | None = None) -> Analysis:
    """Shape: counts (experiments, arms), control first; weights (arms) or (experiments, arms), else the plan's.

    Raises: InvalidInput as `validate_counts`.
    """
    n, x = validate_counts(impressions, successes)
    if n.ndim != 2 or n.shape[1] == 0:
        raise InvalidInput(f"expected experiments x arms, got shape {n.shape}", "impressions")
    statistics = variant_statistics(n, x)
    p_best, expected_loss = best_arm(x, n)
    srm_p = significance.sample_ratio_p_value(n, plan.weights if weights is None else weights)
    p_value = significance.equal_rates_p_value(x, n)
    p_value_sequential = sequential.always_valid_p_value(x, n)
    if n.shape[1] == 2:  # the one comparison there is
        adjusted_p = (p_value if plan.stopping_rule == FIXED else p_value_sequential)[:, None]
    else:
        adjusted_p = _adjusted_p_values(n, x, plan)
    return Analysis(
        impressions=n,
        successes=x,
        rate=statistics.mean,
        ci_low=statistics.ci_low,
        ci_high=statistics.ci_high,
        p_best=p_best,
        expected_loss=expected_loss,
        p_value=p_value,
        p_value_sequential=p_value_sequential,
        srm_p=srm_p,
        adjusted_p=adjusted_p,
        verdict=_verdicts(n, statistics.mean, srm_p, adjusted_p, plan),
    )


def _against_control(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs (experiments, arms − 1, 2) of the control and each other arm."""
    control = np.broadcast_to(values[:, :1], values[:, 1:].shape)
    return np.stack([control, values[:, 1:]], axis=-1)


def _adjusted_p_values(n: Counts, x: Counts, plan: Plan) -> Floats:
    test = significance.equal_rates_p_value if plan.stopping_rule == FIXED else sequential.always_valid_p_value
    return significance.holm(test(_against_control(x), _against_control(n)))


def _verdicts(n: Counts, rate: Floats, srm_p: Floats, adjusted_p: Floats, plan: Plan) -> NDArray[np.int8]:
    complete = _horizon_reached(n, rate, plan)
    significant = adjusted_p <= plan.alpha
    if plan.stopping_rule == FIXED:
        significant &= complete[:, None]
    with np.errstate(invalid="ignore"):  # an arm without impressions is neither better nor worse
        better = (significant & (rate[:, 1:] > rate[:, :1])).any(axis=-1)
        worse = significant & (rate[:, 1:] < rate[:, :1])
    comparable = (n > 0).sum(axis=-1) > 1
    all_worse = comparable & worse.all(axis=-1)
    verdicts = np.where(complete | (n.shape[1] == 1), NO_EVIDENCE, KEEP_RUNNING)
    verdicts = np.where(better, SHIP, np.where(all_worse, ROLL_BACK, verdicts))
    return np.where(srm_p < plan.srm_alpha, np.int8(UNHEALTHY), verdicts.astype(np.int8))


def _horizon_reached(n: Counts, rate: Floats, plan: Plan) -> NDArray[np.bool_]:
    smallest = n.min(axis=-1)
    if plan.horizon is not None:
        return np.asarray(smallest >= plan.horizon)
    baseline = np.where(smallest > 0, rate[:, 0], 0.0)
    found: NDArray[np.bool_] = plan.suffices(
        baseline, smallest, plan.mde, _alpha_per_comparison(plan, n.shape[1]), plan.power
    )
    return found


def _alpha_per_comparison(plan: Plan, arms: int) -> float:
    return plan.alpha / max(arms - 1, 1)


def sample_size(plan: Plan, baseline: float, arms: int = 2) -> int:
    """Impressions per variant after which the plan's test has found its mde with its power."""
    return power.sample_size(baseline, plan.mde, _alpha_per_comparison(plan, arms), plan.power, plan.suffices)


def minimum_detectable_uplift(plan: Plan, baseline: float, impressions: int, arms: int = 2) -> float | None:
    """The smallest uplift over the control that `impressions` per variant show with the plan's power, if any."""
    alpha = _alpha_per_comparison(plan, arms)
    return power.minimum_detectable_uplift(baseline, impressions, alpha, plan.power, plan.suffices)


@dataclass(frozen=True, slots=True)
class Details:
    """What the words of a verdict need beyond an `Analysis`, and what costs more than all of that."""

    uplift: Floats  # (experiments, arms − 1) relative to the control: 0.1 is 10 % more; NaN without a control rate
    uplift_low: Floats  # interval of the plan's stopping rule, Bonferroni over the arms; the sequential one is
    uplift_high: Floats  # safe under peeking
    horizon: Floats  # (experiments) impressions per variant; inf where nothing can be planned yet


def detail(analysis: Analysis, plan: Plan) -> Details:
    """Uplifts over the control and horizons of all experiments of an analysis."""
    n, x = _against_control(analysis.impressions), _against_control(analysis.successes)
    arms, rate = analysis.rate.shape[1], analysis.rate
    interval = ratio_interval if plan.stopping_rule == FIXED else sequential.ratio_confidence_sequence
    low, high = interval(x, n, _alpha_per_comparison(plan, arms))
    ratio = np.divide(rate[:, 1:], rate[:, :1], out=np.full(low.shape, np.nan), where=rate[:, :1] > 0)
    # A test that rejects equality also tells the direction, so the interval ends at "no difference" at the latest.
    rejected = analysis.adjusted_p <= plan.alpha
    low = np.where(rejected & (ratio > 1), np.maximum(low, 1.0), low)
    high = np.where(rejected & (ratio < 1), np.minimum(high, 1.0), high)
    return Details(ratio - 1, low - 1, high - 1, _horizons(analysis, plan))


def _horizons(analysis: Analysis, plan: Plan) -> Floats:
    baseline, arms = np.nan_to_num(analysis.rate[:, 0]), analysis.rate.shape[1]
    if plan.horizon is not None:
        return np.full(baseline.shape, float(plan.horizon))
    horizons = np.full(baseline.shape, np.inf)
    plannable = (analysis.verdict == KEEP_RUNNING) & (baseline > 0) & (baseline < 1)
    alpha = _alpha_per_comparison(plan, arms)
    horizons[plannable] = power.sample_sizes(baseline[plannable], plan.mde, alpha, plan.power, plan.suffices)
    return horizons


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric that the winner must not worsen by more than `tolerated`; all relative to the control."""

    metric: str
    tolerated: float  # 0.05: up to 5 % worse is accepted
    worse_low: float  # interval of how much worse the winner is; negative = better
    worse_high: float

    @property
    def breached(self) -> bool:
        """Whether the whole interval lies beyond what is tolerated."""
        return self.worse_low > self.tolerated


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, why, and by which rule."""

    verdict: str  # one of VERDICTS
    reason: str
    rule: str
    variant_id: str | None  # the arm that the verdict speaks of


@dataclass(frozen=True, slots=True)
class Judge:
    """Puts the verdicts of an analysis into words."""

    analysis: Analysis
    details: Details
    plan: Plan
    daily_impressions: float | None = None  # of all variants together; turns sizes into days

    def verdict(self, row: int, variant_ids: Sequence[str], guardrails: Sequence[Guardrail] = ()) -> Verdict:
        """The verdict on the experiment of that row."""
        code = int(self.analysis.verdict[row])
        if code == SHIP:
            breached = [guardrail for guardrail in guardrails if guardrail.breached]
            return self._guarded(row, variant_ids, breached[0]) if breached else self._ship(row, variant_ids)
        if code == ROLL_BACK:
            return self._roll_back(row, variant_ids)
        if code == KEEP_RUNNING:
            return self._keep_running(row, variant_ids)
        return self._no_evidence(row, variant_ids) if code == NO_EVIDENCE else self._unhealthy(row)

    def winner(self, row: int) -> int:
        """Index of the likeliest best of the arms that beat the control."""
        found = self.analysis
        beats = (found.adjusted_p[row] <= self.plan.alpha) & (found.rate[row, 1:] > found.rate[row, 0])
        return 1 + int(np.argmax(np.where(beats, found.p_best[row, 1:], -1.0)))

    def _ship(self, row: int, names: Sequence[str]) -> Verdict:
        arm = self.winner(row)
        chance = f"best with probability {self.analysis.p_best[row, arm]:.2f}"
        reason = f"{names[arm]} beats {names[0]}: {self._uplift(row, arm)}; {chance}"
        return Verdict("ship", reason, self._rule(), names[arm])

    def _roll_back(self, row: int, names: Sequence[str]) -> Verdict:
        closest = 1 + int(np.argmax(self.analysis.rate[row, 1:]))
        losers = f"{names[closest]} loses" if len(names) == 2 else f"all other variants, even {names[closest]}, lose"
        return Verdict("roll back", f"{losers} to {names[0]}: {self._uplift(row, closest)}", self._rule(), names[0])

    def _guarded(self, row: int, names: Sequence[str], guardrail: Guardrail) -> Verdict:
        low, high = _percent(guardrail.worse_low), _percent(guardrail.worse_high)
        reason = f"{names[self.winner(row)]} wins, but {guardrail.metric} got worse by {low} to {high}"
        rule = f"guardrail {guardrail.metric}: at most {_percent(guardrail.tolerated)} worse"
        return Verdict("roll back", reason, rule, names[0])

    def _keep_running(self, row: int, names: Sequence[str]) -> Verdict:
        rule = f"no decision, and the horizon{self._aim()} is not reached"
        horizon = float(self.details.horizon[row])
        if math.isinf(horizon):
            return Verdict("keep running", f"no horizon can be reckoned from {names[0]}'s rate yet", rule, None)
        missing = max(int(horizon) - int(self.analysis.impressions[row].min()), 0)
        days = math.ceil(missing * len(names) / self.daily_impressions) if self.daily_impressions else None
        time = "" if days is None else f", about {days} days"
        reason = f"not decided yet; at most {missing} more impressions per variant{time}"
        return Verdict("keep running", reason, rule, None)

    def _no_evidence(self, row: int, names: Sequence[str]) -> Verdict:
        if len(names) == 1:
            rule = "a verdict compares two or more variants"
            return Verdict("no evidence", f"{names[0]} is the only variant", rule, None)
        arm = 1 + int(np.argmax(self.analysis.p_best[row, 1:]))
        rule = f"horizon{self._aim()} reached, and neither a winner nor a loss of all other variants"
        return Verdict("no evidence", f"{names[arm]} against {names[0]}: {self._uplift(row, arm)}", rule, None)

    def _unhealthy(self, row: int) -> Verdict:
        split = " : ".join(str(count) for count in self.analysis.impressions[row])
        reason = f"impressions are split {split}; the planned split gives that with p = {self.analysis.srm_p[row]:.2g}"
        rule = f"sample ratio p < {self.plan.srm_alpha:g}: find the cause, then start again"
        return Verdict("unhealthy", reason, rule, None)

    def _rule(self) -> str:
        when = "at the horizon" if self.plan.stopping_rule == FIXED else "at any time"
        return f"{self.plan.stopping_rule}: Holm-adjusted p against the control <= {self.plan.alpha:g} {when}"

    def _aim(self) -> str:
        return "" if self.plan.horizon else f" (mde {100 * self.plan.mde:g} %, power {self.plan.power:g})"

    def _uplift(self, row: int, arm: int) -> str:
        found, p = self.details, self.analysis.adjusted_p[row, arm - 1]
        low, high = _percent(found.uplift_low[row, arm - 1]), _percent(found.uplift_high[row, arm - 1])
        return f"uplift {_percent(found.uplift[row, arm - 1])} ({low} to {high}), adjusted p = {p:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %" if math.isfinite(share) else "unknown" if math.isnan(share) else "unbounded"
