"""Which variant works, how sure that is, and what to do about it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

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
SRM_ALPHA = 0.001  # customary for sample-ratio checks, which run on every look (Fabijan et al. 2019)


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

    Raises: InvalidInput for what is negative, not whole or not finite, and for more successes than impressions.
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
    wrong = np.flatnonzero(~(counts >= 0) | (counts != np.floor(counts)) | (counts >= 2**53))
    if wrong.size:
        raise InvalidInput(f"{given.flat[wrong[0]]} is not a whole number of 0 or more", field)
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
class Plan:
    """What is fixed before the first impression; a changed plan is a new experiment."""

    metric: str = "success_rate"
    alpha: float = 0.05  # chance of a false winner or loser, over all comparisons with the control
    power: float = 0.8
    mde: float = 0.1  # smallest uplift over the control that is worth finding, relative
    stopping_rule: str = SEQUENTIAL  # may be looked at any time; `fixed` decides once, at the horizon
    horizon: int | None = None  # impressions per variant; None: what mde and power ask for at the observed rate
    weights: tuple[float, ...] | None = None  # planned split of the impressions in the arms' order; None: equal

    def __post_init__(self) -> None:
        for field, value in (("alpha", self.alpha), ("power", self.power)):
            if not 0 < value < 1:
                raise InvalidInput(f"{value} is not between 0 and 1", field)
        if not (0 < self.mde < math.inf):
            raise InvalidInput(f"{self.mde} is not positive", "mde")
        if self.stopping_rule not in (SEQUENTIAL, FIXED):
            raise InvalidInput(f"{self.stopping_rule!r} is neither {SEQUENTIAL} nor {FIXED}", "stopping_rule")
        if self.horizon is not None and self.horizon < 1:
            raise InvalidInput(f"{self.horizon} is not positive", "horizon")

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
        """Hash of everything that decides, the test's name included."""
        return hashlib.sha256(canonical_json({**asdict(self), "test": self.test}).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """The one spelling of a value: sorted keys, no spaces, shortest floats. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Every arm but the first against the first, the control; arrays (experiments, arms − 1)."""

    uplift: Floats  # relative: 0.1 is 10 % more than the control; NaN where the control has no successes
    uplift_low: Floats  # interval of the plan's stopping rule; safe under peeking if that is sequential
    uplift_high: Floats
    p_value: Floats  # of the plan's stopping rule, Holm-adjusted over the arms


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
    adjusted_p: Floats  # of `Comparisons`
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
    adjusted_p = _adjusted_p_values(n, x, plan)
    return Analysis(
        impressions=n,
        successes=x,
        rate=statistics.mean,
        ci_low=statistics.ci_low,
        ci_high=statistics.ci_high,
        p_best=p_best,
        expected_loss=expected_loss,
        p_value=significance.equal_rates_p_value(x, n),
        p_value_sequential=sequential.always_valid_p_value(x, n),
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
    return np.where(srm_p < SRM_ALPHA, np.int8(UNHEALTHY), verdicts.astype(np.int8))


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


def compare(analysis: Analysis, plan: Plan) -> Comparisons:
    """Uplifts over the control; kept apart from `analyze` because the intervals cost more than all the rest."""
    n, x = _against_control(analysis.impressions), _against_control(analysis.successes)
    interval = ratio_interval if plan.stopping_rule == FIXED else sequential.ratio_confidence_sequence
    low, high = interval(x, n, _alpha_per_comparison(plan, analysis.impressions.shape[1]))
    rate = analysis.rate
    ratio = np.divide(rate[:, 1:], rate[:, :1], out=np.full(low.shape, np.nan), where=rate[:, :1] > 0)
    # A test that rejects equality also tells the direction, so the interval ends at "no difference" at the latest.
    rejected = analysis.adjusted_p <= plan.alpha
    with np.errstate(invalid="ignore"):
        low = np.where(rejected & (rate[:, 1:] > rate[:, :1]), np.maximum(low, 1.0), low)
        high = np.where(rejected & (rate[:, 1:] < rate[:, :1]), np.minimum(high, 1.0), high)
    return Comparisons(ratio - 1, low - 1, high - 1, analysis.adjusted_p)


def sample_size(plan: Plan, baseline: float, arms: int = 2) -> int:
    """Impressions per variant after which the plan's test has found its mde with its power."""
    return power.sample_size(baseline, plan.mde, _alpha_per_comparison(plan, arms), plan.power, plan.suffices)


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric that must not get worse than `tolerated` (relative to the control); its interval for the best arm."""

    metric: str
    tolerated: float  # 0.05: up to 5 % worse is accepted
    worse_low: float  # interval of how much worse it got, relative; negative = better
    worse_high: float

    @property
    def breached(self) -> bool:
        return self.worse_low > self.tolerated


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, why, and by which rule."""

    verdict: str
    reason: str
    rule: str
    variant_id: str | None  # the arm that the verdict speaks of


def explain(
    analysis: Analysis,
    row: int,
    variant_ids: Sequence[str],
    plan: Plan,
    guardrails: Sequence[Guardrail] = (),
    daily_impressions: float | None = None,
) -> Verdict:
    """The verdict on one experiment in words; `daily_impressions` (all variants together) turns sizes into days."""
    one = _row(analysis, row)
    code = int(analysis.verdict[row])
    breached = [guardrail for guardrail in guardrails if guardrail.breached]
    if code == SHIP and breached:
        return _guarded(breached[0], variant_ids[_winner(one, plan)])
    if code == SHIP:
        return _explain_ship(one, variant_ids, plan)
    if code == ROLL_BACK:
        return _explain_roll_back(one, variant_ids, plan)
    if code == UNHEALTHY:
        return _explain_unhealthy(one)
    if code == NO_EVIDENCE:
        return _explain_no_evidence(one, variant_ids, plan)
    return _explain_keep_running(one, variant_ids, plan, daily_impressions)


def _row(analysis: Analysis, row: int) -> Analysis:
    fields = {name: getattr(analysis, name)[row : row + 1] for name in Analysis.__slots__}
    return Analysis(**fields)


def _winner(one: Analysis, plan: Plan) -> int:
    """The likeliest best of the arms that beat the control."""
    beats = (one.adjusted_p[0] <= plan.alpha) & (one.rate[0, 1:] > one.rate[0, 0])
    return 1 + int(np.argmax(np.where(beats, one.p_best[0, 1:], -1.0)))


def _rule(plan: Plan) -> str:
    when = "at the horizon" if plan.stopping_rule == FIXED else "at any time"
    return f"{plan.stopping_rule}: Holm-adjusted p against the control <= {plan.alpha:g} {when}"


def _percent(share: float) -> str:
    return "unbounded" if math.isinf(share) else f"{100 * share:+.1f} %"


def _uplift(one: Analysis, arm: int, plan: Plan) -> str:
    found = compare(one, plan)
    low, high = _percent(found.uplift_low[0, arm - 1]), _percent(found.uplift_high[0, arm - 1])
    uplift = found.uplift[0, arm - 1]
    size = "unknown, the control has no successes" if math.isnan(uplift) else _percent(uplift)
    return f"uplift {size} (interval {low} to {high}), adjusted p = {found.p_value[0, arm - 1]:.2g}"


def _explain_ship(one: Analysis, names: Sequence[str], plan: Plan) -> Verdict:
    arm = _winner(one, plan)
    reason = f"{names[arm]} beats {names[0]}: {_uplift(one, arm, plan)}; best with probability {one.p_best[0, arm]:.2f}"
    return Verdict("ship", reason, _rule(plan), names[arm])


def _explain_roll_back(one: Analysis, names: Sequence[str], plan: Plan) -> Verdict:
    closest = 1 + int(np.argmax(one.rate[0, 1:]))
    losers = f"{names[closest]} loses" if len(names) == 2 else f"all other variants, even {names[closest]}, lose"
    return Verdict("roll back", f"{losers} to {names[0]}: {_uplift(one, closest, plan)}", _rule(plan), names[0])


def _explain_keep_running(one: Analysis, names: Sequence[str], plan: Plan, daily_impressions: float | None) -> Verdict:
    rule = f"no decision, and the horizon (mde {100 * plan.mde:g} %, power {plan.power:g}) is not reached"
    if not one.successes[0, 0]:
        return Verdict("keep running", f"{names[0]}, the control, has no successes yet", rule, None)
    horizon = plan.horizon or sample_size(plan, float(one.rate[0, 0]), len(names))
    missing = max(horizon - int(one.impressions[0].min()), 0)
    time = "" if not daily_impressions else f", about {math.ceil(missing * len(names) / daily_impressions)} days"
    reason = f"not decided yet; at most {missing} more impressions per variant{time}"
    return Verdict("keep running", reason, rule, None)


def _explain_no_evidence(one: Analysis, names: Sequence[str], plan: Plan) -> Verdict:
    if len(names) == 1:
        return Verdict(
            "no evidence", f"{names[0]} is the only variant", "a verdict compares two or more variants", None
        )
    rule = f"horizon reached (mde {100 * plan.mde:g} %, power {plan.power:g}) and no arm differs from the control"
    arm = 1 + int(np.argmax(one.p_best[0, 1:]))
    return Verdict("no evidence", f"{names[arm]} against {names[0]}: {_uplift(one, arm, plan)}", rule, None)


def _explain_unhealthy(one: Analysis) -> Verdict:
    split = " : ".join(str(count) for count in one.impressions[0])
    reason = f"impressions are split {split}, which the planned split explains with p = {one.srm_p[0]:.2g}"
    return Verdict("unhealthy", reason, f"sample ratio p < {SRM_ALPHA:g}: find the cause, then start again", None)


def _guarded(guardrail: Guardrail, variant_id: str) -> Verdict:
    low, high = _percent(guardrail.worse_low), _percent(guardrail.worse_high)
    reason = f"{variant_id} wins, but {guardrail.metric} got worse by {low} to {high}"
    rule = f"guardrail {guardrail.metric}: at most {_percent(guardrail.tolerated)} worse"
    return Verdict("roll back", reason, rule, variant_id)
