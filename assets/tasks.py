"""Tasks: what people and programs asked for. Written by the API, observed here."""

from __future__ import annotations

import dagster as dg

from assets.draining import DAYS, OWNERS, table_metadata
from threads_agent_dagster.db import tables

tasks = dg.AssetSpec(
    "tasks",
    description="One row per task that a client queued with POST /task.",
    group_name="tasks",
    kinds={"postgres"},
    owners=OWNERS,
    tags={"layer": "input", "pii": "possible"},
    partitions_def=DAYS,
    metadata=table_metadata(tables.tasks),
)
