"""Figures of variants become verdicts on experiments; what is won is promoted, and taken back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping

from threads_agent_dagster.db import verdicts as db
from threads_agent_dagster.domain.experiments import DECISIONS, FIXED, Plan
from threads_agent_dagster.domain.verdicts import Arm, Document, Reading, judge, sha256_of, text_of
from threads_agent_dagster.errors import Conflict, InvalidInput, NotFound
from threads_agent_dagster.work.drain import Failure, Job, Origin

ASSET = "experiment_verdicts"
CODE_VERSION = "2"  # raise it when the same input gives other rows: history is then stale
BATCH = 200
_SHOWN = (
    "experiment_id", "plan_hash", "input_version", "test", "prior", "n", "verdict", "reason", "rule", "variant_id",
    "gate", "p_value", "p_value_sequential", "srm_p",
)  # fmt: skip


def job(code_version: str = CODE_VERSION) -> Job[Sequence[RowMapping], Document]:
    """How `experiment_verdicts` is made."""
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: db.read_readings(
            connection, [row.key.removeprefix("experiment:") for row in rows]
        ),
        compute=verdicts,
        store=store,
        stale=db.STALE,
        batch_size=BATCH,
    )


def verdicts(rows: Sequence[RowMapping]) -> Mapping[str, Document | Failure]:
    """Pending key → verdict; an experiment that cannot be judged yet is missing, one that never can has a reason."""
    found: dict[str, Document | Failure] = {}
    for row in rows:
        try:
            document = verdict_of(row)
        except InvalidInput as error:
            found[row["key"]] = Failure(f"plan or counts: {error}")
            continue
        if document is not None:
            found[row["key"]] = document
    return found


def verdict_of(row: RowMapping) -> Document | None:
    """The verdict on a row of `db.read_readings`; None before its start and while figures of a variant are missing.

    Raises: InvalidInput.
    """
    if row["plan_hash"] is None or not row["arms"]:
        return None
    plan = Plan.of(row["plan"])
    reading = _decided(row, plan) or _reading(row, plan)
    return None if reading is None else judge(reading, plan, row["plan_hash"])


def _decided(row: RowMapping, plan: Plan) -> Reading | None:
    """A fixed plan decides once: what its decision was computed from stays, whatever is observed later."""
    if plan.stopping_rule != FIXED or row["document"] is None:
        return None
    stored = json.loads(row["document"])
    if stored["verdict"] not in DECISIONS or stored["plan_hash"] != row["plan_hash"]:
        return None
    return Reading.of(row["id"], stored["inputs"])


def _reading(row: RowMapping, plan: Plan) -> Reading | None:
    if any(arm["impressions"] is None for arm in row["arms"]):
        return None
    arms = tuple(Arm(**arm) for arm in row["arms"])
    return Reading(row["id"], arms, _stale(row, plan), _daily_impressions(row, arms))


def _stale(row: RowMapping, plan: Plan) -> bool:
    newest: datetime | None = row["newest"]
    if newest is None:
        return False  # nothing was observed yet, so nothing stopped
    patience = timedelta(days=plan.stale_days)
    return bool(row["oldest"] < newest - patience or newest < row["as_of"] - patience)


def _daily_impressions(row: RowMapping, arms: Sequence[Arm]) -> float | None:
    if row["started_at"] is None or row["newest"] is None:
        return None
    days = (row["newest"] - row["started_at"]) / timedelta(days=1)
    total = sum(arm.impressions for arm in arms)
    return float(f"{total / days:.6g}") if days >= 1 and total else None


def store(connection: Connection, results: Mapping[str, Document], origin: Origin) -> set[str]:
    """Stores the verdicts of a batch."""
    made_by = {"run_id": origin.run_id, "code_version": origin.code_version}
    db.store(connection, [_row(document) | made_by for document in results.values()])
    return set()


def _row(document: Document) -> dict[str, Any]:
    return {name: document[name] for name in _SHOWN} | {
        "smallest": min(arm["impressions"] for arm in document["inputs"]["variants"]),
        "stale": document["inputs"]["stale"],
        "document": text_of(document),
        "sha256": sha256_of(document),
    }


# What the API and the command line ask for.


@dataclass(frozen=True, slots=True)
class Verified:
    """`same`: computing the stored verdict again from its stored inputs and the frozen plan gives the same bytes.

    `current`: its inputs are those that the tables hold now.
    """

    same: bool
    current: bool
    stored_sha256: str
    recomputed_sha256: str


def verify(connection: Connection, experiment_id: str) -> Verified:
    """Raises: NotFound without such an experiment or without a verdict on it."""
    rows = db.read_readings(connection, [experiment_id])
    if not rows:
        raise NotFound(f"there is no experiment {experiment_id!r}")
    stored = db.find(connection, experiment_id)
    if stored is None:
        raise NotFound(f"the experiment {experiment_id!r} has no verdict yet")
    inputs = json.loads(stored["document"])["inputs"]
    again = judge(Reading.of(experiment_id, inputs), Plan.of(rows[0]["plan"]), rows[0]["plan_hash"])
    now = verdict_of(rows[0])
    return Verified(
        same=text_of(again) == stored["document"] and sha256_of(again) == stored["sha256"],
        current=now is not None and now["input_version"] == stored["input_version"],
        stored_sha256=stored["sha256"],
        recomputed_sha256=sha256_of(again),
    )


def current(connection: Connection, experiment_id: str) -> Document | None:
    """The verdict by what the tables hold now; None while there is nothing to judge."""
    rows = db.read_readings(connection, [experiment_id])
    return verdict_of(rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants promoted; None is the variant that the verdict names."""

    experiment_id: str
    variant_id: str | None
    by: str
    force: bool = False
    reason: str | None = None


def promote(connection: Connection, wish: Wish, variant_ids: Sequence[str]) -> None:
    """Records that a variant won, and by which verdict.

    Raises: Conflict unless the verdict ships that variant or the wish is forced; InvalidInput for an unknown variant
    and for force without a reason.
    """
    db.lock(connection, wish.experiment_id)
    document = current(connection, wish.experiment_id)
    verdict = None if document is None else document["verdict"]
    winner = document["variant_id"] if document is not None and verdict == "ship" else None
    chosen = winner if wish.variant_id is None else wish.variant_id
    if chosen is not None and chosen not in variant_ids:
        raise InvalidInput(f"{chosen!r} is no variant of this experiment", field="variant_id")
    if wish.force and not (wish.reason and wish.reason.strip()):
        raise InvalidInput("force needs a reason", field="reason")
    if chosen is None or (chosen != winner and not wish.force):
        why = "there is no verdict yet" if document is None else f"{verdict}: {document['reason']}"
        raise Conflict(f"the verdict does not ship this ({why}); name a variant and send force with a reason to insist")
    if db.promoted(connection, wish.experiment_id) == chosen:
        raise Conflict(f"{chosen!r} is promoted already")
    db.promote(
        connection,
        {
            "experiment_id": wish.experiment_id,
            "variant_id": chosen,
            "promoted_by": wish.by,
            "forced": chosen != winner,
            "reason": wish.reason,
            "verdict": verdict,
            "verdict_sha256": None if document is None else sha256_of(document),
        },
    )


def undo(connection: Connection, experiment_id: str, by: str, reason: str | None) -> None:
    """Takes the newest promotion back. Raises: Conflict when nothing is promoted."""
    db.lock(connection, experiment_id)
    if not db.undo(connection, experiment_id, by, reason):
        raise Conflict("nothing is promoted here")
