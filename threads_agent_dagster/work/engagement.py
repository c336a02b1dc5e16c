"""Engagement snapshots become the current engagement of each post."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from threads_agent_dagster.db import engagement as db
from threads_agent_dagster.db.engagement import Snapshot
from threads_agent_dagster.domain.engagement import engagement_rate
from threads_agent_dagster.work.drain import Job, Origin

ASSET = "post_engagement"
CODE_VERSION = "1"  # raise it when the same input gives other rows: history is then stale


def job(code_version: str = CODE_VERSION) -> Job[list[Snapshot], Snapshot]:
    """How `post_engagement` is made."""
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: db.read_newest(connection, [row.key for row in rows]),
        compute=lambda snapshots: {one.key: one for one in snapshots},
        store=store,
        stale=db.STALE,
    )


def store(connection: Connection, results: Mapping[str, Snapshot], origin: Origin) -> set[str]:
    """Stores the newest counts and the rate that follows from them."""
    newest = list(results.values())
    rates = [engagement_rate(one.impressions, one.engagements) for one in newest]
    db.store(connection, newest, rates, origin.run_id, origin.code_version)
    return set()
