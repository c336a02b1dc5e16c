"""Which variant a unit gets, and what was observed of it: every event counts once, however often it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping

from threads_agent_dagster.db import experiments, verdicts
from threads_agent_dagster.db import variants as db
from threads_agent_dagster.db.variants import Observation
from threads_agent_dagster.domain.allocation import (
    Prior,
    Standing,
    Unit,
    choose,
    fit_prior,
    pooled_relative_rates,
)
from threads_agent_dagster.domain.experiments import Plan
from threads_agent_dagster.errors import Conflict, NotFound

REMEMBERED = 500  # earlier experiments, and similar variants, that a warm start looks at
ENDLESS = 1e6  # impressions still to come where a plan has no horizon


def record(connection: Connection, variant_id: str, observed: Sequence[Observation]) -> int:
    """Stores the events that are new and returns how many they are; a trigger makes the statistics due.

    Raises: NotFound for an unknown variant, Conflict when an event id is known with other figures; then nothing of
    the batch may be stored.
    """
    if db.find(connection, variant_id) is None:
        raise NotFound(f"there is no variant {variant_id!r}")
    new = db.record(connection, variant_id, observed)
    again = {one.event_id: one for one in observed if one.event_id not in new}
    for event_id, known in db.recorded(connection, list(again)).items():
        sent = again[event_id]
        same = (variant_id, sent.impressions, sent.successes, sent.steered, dict(sent.guardrails or {}))
        if same != tuple(known[name] for name in ("variant_id", "impressions", "successes", "steered", "guardrails")):
            raise Conflict(f"the event {event_id!r} was recorded with other figures")
    return len(new)


@dataclass(frozen=True, slots=True)
class Selected:
    """`steered`: a policy chose; say so when recording, because no verdict may use such impressions."""

    variant_id: str
    unit_id: str
    policy: str
    steered: bool
    promoted: bool


def select(connection: Connection, unit: Unit) -> Selected:
    """The variant of a unit: always the same one until a winner is promoted, who then gets everything.

    Raises: NotFound for an unknown experiment, Conflict for one that does not run.
    """
    experiment = experiments.find(connection, unit.experiment_id)
    if experiment is None:
        raise NotFound(f"there is no experiment {unit.experiment_id!r}")
    plan = Plan.of(experiment["plan"])
    if (winner := verdicts.promoted(connection, unit.experiment_id)) is not None:
        return Selected(winner, unit.unit_id, plan.policy, steered=True, promoted=True)
    if experiment["status"] != "running":
        raise Conflict(f"the experiment {unit.experiment_id!r} is {experiment['status']} and nothing is promoted")
    given = db.assigned(connection, unit.experiment_id, unit.unit_id)
    if given is None:
        given = _choose(connection, plan, unit)
    return Selected(given[0], unit.unit_id, plan.policy, steered=given[1], promoted=False)


def _choose(connection: Connection, plan: Plan, unit: Unit) -> tuple[str, bool]:
    arms = db.of_experiment(connection, unit.experiment_id)
    arm, steered = choose(plan.policy, plan.floor, unit, _standing(connection, plan, unit.experiment_id, arms))
    variant_id: str = arms[arm]["variant_id"]
    if plan.policy == "fixed":
        return variant_id, False  # the hash remembers
    db.assign(connection, unit.experiment_id, unit.unit_id, variant_id, steered=steered)
    given = db.assigned(connection, unit.experiment_id, unit.unit_id)
    assert given is not None  # stored above, by us or by whoever was first
    return given


def _standing(connection: Connection, plan: Plan, experiment_id: str, arms: Sequence[RowMapping]) -> Standing:
    successes, impressions = (
        np.array([arm[name] or 0 for arm in arms], dtype=np.int64) for name in ("successes", "impressions")
    )
    weights = plan.weights or (1.0,) * len(arms)
    remaining = ENDLESS if plan.horizon is None else max(plan.horizon * len(arms) - int(impressions.sum()), 0)
    if plan.policy != "forward":
        return Standing(successes, impressions, weights, remaining)
    prior = _prior(connection, experiment_id)
    relative = None if prior is None else _warm_start(connection, experiment_id, arms, prior)
    return Standing(successes, impressions, weights, remaining, prior, relative)


def _prior(connection: Connection, experiment_id: str) -> Prior | None:
    """What earlier experiments say of rates; None without two of them."""
    rows = db.earlier(connection, experiment_id, REMEMBERED)
    if len(rows) < 2:
        return None
    successes, impressions = (
        np.array(list(zip_longest(*(getattr(row, name) for row in rows), fillvalue=0))).T
        for name in ("successes", "impressions")
    )
    return fit_prior(successes, impressions)


def _warm_start(
    connection: Connection, experiment_id: str, arms: Sequence[RowMapping], prior: Prior
) -> NDArray[np.float64]:
    """Expected rates relative to the experiment's: what similar variants earned, times what the hook model predicts."""
    named = {name: value for arm in arms for name, value in arm["dimensions"].items()}
    rows = db.similar(connection, experiment_id, named, REMEMBERED)
    described = [
        {name: str(value) for name, value in dimensions.items()}
        for dimensions in [*(row.dimensions for row in rows), *(arm["dimensions"] for arm in arms)]
    ]
    nothing = [0] * len(arms)
    pooled = pooled_relative_rates(
        described,
        [*(row.successes for row in rows), *nothing],
        [*(row.impressions for row in rows), *nothing],
        prior.arm_strength,
    )[len(rows) :]
    expected = pooled * np.exp(_predicted(tuple(arm["hook"] or "" for arm in arms)))
    return np.asarray(expected / expected.mean())


@lru_cache(maxsize=256)
def _predicted(hooks: tuple[str, ...]) -> NDArray[np.float64]:
    """Log-odds against the mean by the hook model; zeros unless every variant has a hook."""
    from threads_agent_dagster.domain.hooks import predicted_logit

    return predicted_logit(hooks, "").mean if all(hooks) else np.zeros(len(hooks))
