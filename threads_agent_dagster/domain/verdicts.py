"""The verdict on one experiment as a document: the same reading and the same plan give the same bytes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from threads_agent_dagster.domain import sequential, significance
from threads_agent_dagster.domain.experiments import (
    DECISIONS,
    FIXED,
    SHIP,
    UNHEALTHY,
    VERDICTS,
    Analysis,
    Details,
    Guardrail,
    Judge,
    Plan,
    Verdict,
    analyze,
    canonical_json,
    detail,
)
from threads_agent_dagster.domain.intervals import Floats, ratio_interval

DIGITS = 10  # significant digits of what is stored: what is meant, without the last bits of a processor
PRIOR = "Beta(1, 1) for each rate"
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant's counts; only impressions that were split as planned."""

    variant_id: str
    impressions: int
    successes: int
    guardrails: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """All that a verdict is computed from, the control first. `stale`: the data stopped coming, in whole or in part."""

    experiment_id: str
    arms: tuple[Arm, ...]
    stale: bool = False
    daily_impressions: float | None = None

    def inputs(self) -> Document:
        """As it is stored and hashed."""
        return {
            "variants": [asdict(arm) for arm in self.arms],
            "stale": self.stale,
            "daily_impressions": self.daily_impressions,
        }

    @classmethod
    def of(cls, experiment_id: str, inputs: Document) -> Self:
        """The reading that was stored as `inputs`."""
        arms = tuple(Arm(**arm) for arm in inputs["variants"])
        return cls(experiment_id, arms, inputs["stale"], inputs["daily_impressions"])


def judge(reading: Reading, plan: Plan, plan_hash: str | None = None) -> Document:
    """The verdict with everything that led to it; `plan_hash` is the one that was frozen at the start.

    Raises: InvalidInput for counts that cannot be.
    """
    names = [arm.variant_id for arm in reading.arms]
    analysis = analyze([[arm.impressions for arm in reading.arms]], [[arm.successes for arm in reading.arms]], plan)
    details = detail(analysis, plan)
    worse = _guardrails(reading.arms, plan)
    verdict, gate = _decide(Judge(analysis, details, plan, reading.daily_impressions), reading, plan, plan_hash, worse)
    inputs = reading.inputs()
    return {
        "experiment_id": reading.experiment_id,
        "plan": asdict(plan),
        "plan_hash": plan.sha256() if plan_hash is None else plan_hash,
        "test": plan.test,
        "prior": PRIOR,
        "inputs": inputs,
        "input_version": _sha256(inputs),
        "n": sum(arm.impressions for arm in reading.arms),
        **asdict(verdict),
        "gate": gate,
        "p_value": _number(analysis.p_value[0]),
        "p_value_sequential": _number(analysis.p_value_sequential[0]),
        "srm_p": _number(analysis.srm_p[0]),
        "arms": [_arm(analysis, index, name) for index, name in enumerate(names)],
        "comparisons": _comparisons(reading.arms, plan, details, worse),
    }


def text_of(document: Document) -> str:
    """The one spelling of a document."""
    return canonical_json(document)


def sha256_of(document: Document) -> str:
    """Of its one spelling, in UTF-8."""
    return _sha256(document)


def _sha256(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


Worse = Mapping[str, Sequence[Guardrail]]


def _decide(
    judge: Judge, reading: Reading, plan: Plan, plan_hash: str | None, worse: Worse
) -> tuple[Verdict, str | None]:
    """The verdict, and the gate that held a decision back, if one did."""
    if plan_hash not in (None, plan.sha256()):
        rule = "a changed plan is a new experiment"
        return Verdict(VERDICTS[UNHEALTHY], "the plan is not the one that was frozen at the start", rule, None), "plan"
    names = [arm.variant_id for arm in reading.arms]
    code = int(judge.analysis.verdict[0])
    guardrails = [one[judge.winner(0) - 1] for one in worse.values()] if code == SHIP else []
    found = judge.verdict(0, names, guardrails)
    if code == UNHEALTHY:
        return found, "sample_ratio"
    if reading.stale:
        rule = f"every variant is observed at least every {plan.stale_days:g} days"
        return Verdict(VERDICTS[UNHEALTHY], "observations of a variant, or of all, stopped coming", rule, None), "stale"
    smallest = min(arm.impressions for arm in reading.arms)
    if found.verdict in DECISIONS and smallest < plan.minimum_sample:
        reason = f"the smallest variant has {smallest} impressions"
        rule = f"nothing is decided below {plan.minimum_sample} impressions per variant"
        return replace(found, verdict="keep running", reason=reason, rule=rule, variant_id=None), "minimum_sample"
    return found, None


def _guardrails(arms: Sequence[Arm], plan: Plan) -> Worse:
    """For each guardrail how much worse each variant is than the control, Bonferroni over all of them."""
    if not plan.guardrails or len(arms) < 2:
        return {}
    alpha = plan.alpha / ((len(arms) - 1) * len(plan.guardrails))
    interval = ratio_interval if plan.stopping_rule == FIXED else sequential.ratio_confidence_sequence
    found = {}
    for one in plan.guardrails:
        harm, shown = _pairs(arms, one.metric)
        low, high = interval(harm, shown, alpha)
        found[one.metric] = [
            Guardrail(one.metric, one.tolerated, float(down) - 1, float(up) - 1)
            for down, up in zip(low, high, strict=True)
        ]
    return found


def _pairs(arms: Sequence[Arm], metric: str | None) -> tuple[Floats, Floats]:
    """Counts and impressions (arms − 1, 2) of the control and each other arm; None is the metric that decides."""
    counts = [arm.successes if metric is None else arm.guardrails.get(metric, 0) for arm in arms]
    shown = [arm.impressions for arm in arms]
    return tuple(np.array([[one[0], other] for other in one[1:]], dtype=float) for one in (counts, shown))  # type: ignore[return-value]


def _comparisons(arms: Sequence[Arm], plan: Plan, details: Details, worse: Worse) -> list[Document]:
    """Every variant against the control in every metric, corrected over all of them (Holm, Benjamini–Hochberg)."""
    test = significance.equal_rates_p_value if plan.stopping_rule == FIXED else sequential.always_valid_p_value
    metrics = [None, *(one.metric for one in plan.guardrails)]
    if len(arms) < 2:
        return []
    p = np.concatenate([test(*_pairs(arms, metric)) for metric in metrics])
    corrected = zip(p, significance.holm(p), significance.benjamini_hochberg(p), strict=True)
    bounds = list(zip(details.uplift_low[0], details.uplift_high[0], strict=True))
    bounds += [(one.worse_low, one.worse_high) for found in worse.values() for one in found]
    named = [(plan.metric if metric is None else metric, arm) for metric in metrics for arm in arms[1:]]
    return [
        {
            "metric": metric,
            "variant_id": arm.variant_id,
            "low": _number(low),
            "high": _number(high),
            "p": _number(raw),
            "p_holm": _number(holm),
            "q_bh": _number(bh),
        }
        for (metric, arm), (low, high), (raw, holm, bh) in zip(named, bounds, corrected, strict=True)
    ]


def _arm(analysis: Analysis, index: int, name: str) -> Document:
    measures = ("rate", "ci_low", "ci_high", "p_best", "expected_loss")
    return {"variant_id": name} | {measure: _number(getattr(analysis, measure)[0, index]) for measure in measures}


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
