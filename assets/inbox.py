"""The inbox: what GitHub delivered and what was imported. Written by the API and the importers, observed here."""

from __future__ import annotations

import dagster as dg

from assets.draining import DAYS, OWNERS, table_metadata
from threads_agent_dagster.db import tables

github_deliveries = dg.AssetSpec(
    "github_deliveries",
    description="One row per webhook delivery that carried a valid signature, raw as it came.",
    group_name="inbox",
    kinds={"postgres", "github"},
    owners=OWNERS,
    tags={"layer": "input", "pii": "possible"},
    partitions_def=DAYS,
    metadata=table_metadata(tables.inbox),
)

git_commits = dg.AssetSpec(
    "git_commits",
    description="One row per first-parent change of an imported git history.",
    group_name="inbox",
    kinds={"postgres", "git"},
    owners=OWNERS,
    tags={"layer": "input", "pii": "possible"},
    partitions_def=DAYS,
    metadata=table_metadata(tables.git_commits),
)
