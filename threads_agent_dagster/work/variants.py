"""Recording what was observed of a variant: every event counts once, whoever sends it and however often."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from threads_agent_dagster.db import variants as db
from threads_agent_dagster.db.variants import Observation
from threads_agent_dagster.errors import Conflict, NotFound


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
