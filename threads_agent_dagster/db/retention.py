"""What is let go with time, a few thousand rows per transaction.

Runs are never deleted, nor any event of an asset or of a run as a whole: the status of every partition is computed from
them. A delivery that an achievement was made from keeps its body as long as the achievement lives; every delivery keeps
its id and the hash of its body, so that a replay stays a replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, TextClause, text

BATCH: Final = 5000

# By the setting keep_<name>_days; each takes one batch.
RULES: Final[Mapping[str, TextClause]] = {
    "inbox": text("""
        UPDATE inbox SET body = '', headers = '{}' WHERE id IN (
            SELECT id FROM inbox WHERE body <> '' AND status IN ('processed', 'ignored')
            AND received_at < now() - make_interval(days => :days)
            AND NOT EXISTS (SELECT FROM achievements WHERE achievements.inbox_id = inbox.id)
            AND NOT EXISTS (SELECT FROM achievements WHERE achievements.push_id = inbox.id)
            ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED
        )"""),
    "idempotency_keys": text("""
        DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(days => :days) LIMIT :batch
        ))"""),
    "llm_calls": text("""
        DELETE FROM llm_calls WHERE id IN (
            SELECT id FROM llm_calls WHERE settled_at < now() - make_interval(days => :days) LIMIT :batch
        )"""),
    "outbox": text("""
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE delivered_at < now() - make_interval(days => :days) LIMIT :batch
        )"""),
}


def remove(connection: Connection, name: str, days: int) -> int:
    """Lets one batch of what is older go; returns how many rows that were."""
    return connection.execute(RULES[name], {"days": days, "batch": BATCH}).rowcount


DETAILS: Final = (
    "STEP_START", "STEP_SUCCESS", "STEP_SKIPPED", "STEP_UP_FOR_RETRY", "STEP_RESTARTED", "STEP_INPUT", "STEP_OUTPUT",
    "STEP_WORKER_STARTING", "STEP_WORKER_STARTED", "HANDLED_OUTPUT", "LOADED_INPUT", "LOGS_CAPTURED", "ENGINE_EVENT",
    "RESOURCE_INIT_STARTED", "RESOURCE_INIT_SUCCESS", "RESOURCE_INIT_FAILURE", "HOOK_COMPLETED", "HOOK_SKIPPED",
    "OBJECT_STORE_OPERATION",
)  # fmt: skip

_HAS_EVENTS = text("SELECT to_regclass('dagster.event_logs') IS NOT NULL")
_NEXT_EVENTS = text("""
    SELECT max(id) FROM (
        SELECT id FROM dagster.event_logs WHERE id > :after
        AND "timestamp" < (now() AT TIME ZONE 'UTC') - make_interval(days => :days) ORDER BY id LIMIT :batch
    ) AS old
""")
_REMOVE_EVENTS = text("""
    DELETE FROM dagster.event_logs USING dagster.runs
    WHERE event_logs.id > :after AND event_logs.id <= :last AND runs.run_id = event_logs.run_id
    AND event_logs."timestamp" < (now() AT TIME ZONE 'UTC') - make_interval(days => :days)
    AND runs.status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND event_logs.asset_key IS NULL
    AND (event_logs.dagster_event_type IS NULL OR event_logs.dagster_event_type = ANY(:details))
""")


def has_event_logs(connection: Connection) -> bool:
    """Whether Dagster keeps its records in this database."""
    return bool(connection.execute(_HAS_EVENTS).scalar_one())


def remove_event_logs(connection: Connection, days: int, after: int) -> tuple[int, int | None]:
    """Looks at a batch of old events behind id `after`: how many went, and up to which id (None: no more are old)."""
    window = {"after": after, "days": days, "batch": BATCH}
    last: int | None = connection.execute(_NEXT_EVENTS, window).scalar_one()
    if last is None:
        return 0, None
    bounds = {"after": after, "last": last, "days": days, "details": list(DETAILS)}
    return connection.execute(_REMOVE_EVENTS, bounds).rowcount, last
