"""Reads what verdicts are computed from, stores them; records what was promoted and undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select, text

from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced
from threads_agent_dagster.db.tables import experiment_verdicts, experiments, promotions

# The control first, then by id in the order of code points, as everywhere. A variant whose figures are not there yet
# has NULL counts.
_READINGS = text("""
    SELECT 'experiment:' || experiments.id AS key, experiments.id, plan, experiments.plan_hash, status, started_at,
        coalesce(ended_at, now()) AS as_of, stored.document, arms.arms, arms.newest, arms.oldest
    FROM experiments LEFT JOIN experiment_verdicts AS stored ON stored.experiment_id = experiments.id
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('variant_id', variants.variant_id,
                'impressions', impressions - steered_impressions, 'successes', successes - steered_successes,
                'guardrails', guardrails) ORDER BY is_control DESC, variants.variant_id COLLATE "C") AS arms,
            max(last_used) AS newest, min(last_used) AS oldest
        FROM variants LEFT JOIN variant_performance USING (variant_id) WHERE variants.experiment_id = experiments.id
    ) AS arms
    WHERE experiments.id = ANY(:ids)
""")


def read_readings(connection: Connection, experiment_ids: Sequence[str]) -> Sequence[RowMapping]:
    """Plan, state, counts and the stored document of each experiment that is there."""
    return connection.execute(_READINGS, {"ids": list(experiment_ids)}).mappings().all()


_MADE_BY_THE_DATABASE = ("computed_at",)
_COLUMNS = [column.name for column in experiment_verdicts.columns if column.name not in _MADE_BY_THE_DATABASE]
_STORE = insert_rows(
    "experiment_verdicts",
    _COLUMNS,
    f"ON CONFLICT (experiment_id) DO UPDATE SET {replaced(_COLUMNS)}, computed_at = now()",
)


def store(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the verdicts of the given experiments."""
    connection.execute(_STORE, parameter(rows))


# Those that run are looked at again too: their data may have stopped coming.
STALE = """
    SELECT 'experiment:' || experiments.id AS key, utc_day(now()) AS day, stored.code_version
    FROM experiments LEFT JOIN experiment_verdicts AS stored ON stored.experiment_id = experiments.id
    WHERE experiments.plan_hash IS NOT NULL
    AND (:force OR status = 'running' OR stored.code_version IS DISTINCT FROM :code_version)"""


def find(connection: Connection, experiment_id: str) -> RowMapping | None:
    """The stored verdict."""
    wanted = select(experiment_verdicts).where(experiment_verdicts.c.experiment_id == experiment_id)
    return connection.execute(wanted).mappings().one_or_none()


def find_all(connection: Connection, experiment_ids: Sequence[str]) -> Mapping[str, RowMapping]:
    """Experiment id → its stored verdict, of those that have one."""
    wanted = select(experiment_verdicts).where(experiment_verdicts.c.experiment_id.in_(experiment_ids))
    return {row["experiment_id"]: row for row in connection.execute(wanted).mappings()}


_STORED = (
    "verdict", "reason", "rule", "variant_id", "gate", "n", "test", "p_value", "p_value_sequential", "srm_p",
    "input_version", "sha256", "computed_at", "run_id", "code_version",
)  # fmt: skip
_PROMOTED_LAST = (
    select(promotions.c.variant_id)
    .where(promotions.c.experiment_id == experiments.c.id, promotions.c.undone_at.is_(None))
    .order_by(promotions.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_EXPORT = (
    select(experiments, *(experiment_verdicts.c[name] for name in _STORED), _PROMOTED_LAST.label("promoted"))
    .outerjoin_from(experiments, experiment_verdicts, experiment_verdicts.c.experiment_id == experiments.c.id)
    .order_by(experiments.c.id)
    .execution_options(yield_per=1_000)
)


def named(words: str | None = None, status: str | None = None) -> list[ColumnElement[bool]]:
    """The condition of experiments whose name contains `words` and whose state is `status`."""
    found = []
    if words:
        found.append(experiments.c.name.icontains(words, autoescape=True))
    if status:
        found.append(experiments.c.status == status)
    return found


def export(connection: Connection, words: str | None = None, status: str | None = None) -> Iterable[RowMapping]:
    """Experiments by id, each with its stored verdict and the promoted variant; in constant memory."""
    return connection.execute(_EXPORT.where(*named(words, status))).mappings()


_LOCK = text("SELECT FROM experiments WHERE id = :id FOR UPDATE")


def lock(connection: Connection, experiment_id: str) -> None:
    """Lets one caller at a time promote or undo."""
    connection.execute(_LOCK, {"id": experiment_id})


def promote(connection: Connection, values: Mapping[str, Any]) -> None:
    connection.execute(insert(promotions).values(values))


_UNDO = text("""
    UPDATE promotions SET undone_at = clock_timestamp(), undone_by = :undone_by, undo_reason = :reason
    WHERE id = (SELECT max(id) FROM promotions WHERE experiment_id = :experiment_id AND undone_at IS NULL)
""")


def undo(connection: Connection, experiment_id: str, undone_by: str, reason: str | None) -> bool:
    """Takes the newest promotion back, so that the one before counts again; False when there is none."""
    parameters = {"experiment_id": experiment_id, "undone_by": undone_by, "reason": reason}
    return connection.execute(_UNDO, parameters).rowcount == 1


def promotions_of(connection: Connection, experiment_id: str) -> Sequence[RowMapping]:
    """All promotions, the newest first; those undone are marked."""
    wanted = select(promotions).where(promotions.c.experiment_id == experiment_id).order_by(promotions.c.id.desc())
    return connection.execute(wanted).mappings().all()


_PROMOTED = text(
    "SELECT variant_id FROM promotions WHERE experiment_id = :id AND undone_at IS NULL ORDER BY id DESC LIMIT 1"
)


def promoted(connection: Connection, experiment_id: str) -> str | None:
    """The variant that won, if one was promoted."""
    found: str | None = connection.execute(_PROMOTED, {"id": experiment_id}).scalar_one_or_none()
    return found
