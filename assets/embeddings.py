"""Embeddings: what achievements are about, as vectors of one model."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import OWNERS, DrainConfig, Event, drain_all, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.embeddings import CODE_VERSION, job

CHECKS = {
    "every_vector_has_length_one": """
        SELECT achievement_id FROM achievement_embeddings WHERE run_id = :run_id
        AND abs(l2_norm(embedding) - 1) > 0.01""",
    "all_vectors_are_of_one_model": """
        SELECT model FROM achievement_embeddings
        WHERE (SELECT min(model) < max(model) FROM achievement_embeddings) GROUP BY model""",
    "every_achievement_has_its_vector": """
        SELECT id FROM achievements WHERE deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM achievement_embeddings WHERE achievement_id = id)
        AND NOT EXISTS (SELECT FROM pending WHERE asset = 'achievement_embeddings' AND key = 'achievement:' || id)""",
}
_TEXT = [("achievements", "title"), ("achievements", "description")]


@dg.asset(
    description="One row per achievement: the vector of its title and description, of length 1, by one model for all.",
    deps=["achievements"],
    group_name="embeddings",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.achievement_embeddings,
        {"embedding": _TEXT, "content_hash": _TEXT, "achievement_id": [("achievements", "id")]},
    ),
    check_specs=sentences("achievement_embeddings", CHECKS, blocking=["every_vector_has_length_one"]),
)
def achievement_embeddings(
    context: dg.AssetExecutionContext, config: DrainConfig, database: Database
) -> Iterator[Event]:
    yield from drain_all(context, config, database, job(), CHECKS)
