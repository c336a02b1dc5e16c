"""Themes: which achievements are about the same thing."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import OWNERS, DrainConfig, Event, drain_all, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.domain.themes import LOOSEST
from threads_agent_dagster.work.themes import CODE_VERSION, job

CHECKS = {
    "every_theme_has_members": """
        SELECT id FROM achievement_themes AS theme WHERE run_id = :run_id
        AND NOT EXISTS (SELECT FROM achievement_theme_members WHERE theme_id = theme.id)""",
    "every_member_is_close_to_its_theme": f"""
        SELECT achievement_id FROM achievement_theme_members WHERE closeness < {LOOSEST}""",
    "every_theme_is_named_by_its_members": """
        SELECT theme.id FROM achievement_themes AS theme, unnest(words) AS word WHERE run_id = :run_id
        AND NOT EXISTS (SELECT FROM achievement_theme_members JOIN achievements ON achievements.id = achievement_id
            WHERE theme_id = theme.id AND position(word IN lower(title)) > 0)""",
}


@dg.asset(
    description="One row per theme: a group of achievements with near vectors, named by words of their titles; "
    "achievement_theme_members says which.",
    deps=["achievement_embeddings", "achievements"],
    group_name="themes",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "mart", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.achievement_themes,
        {
            "id": [("achievement_embeddings", "embedding")],
            "label": [("achievements", "title"), ("achievement_embeddings", "embedding")],
            "words": [("achievements", "title"), ("achievement_embeddings", "embedding")],
        },
    ),
    check_specs=sentences("achievement_themes", CHECKS),
)
def achievement_themes(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[Event]:
    yield from drain_all(context, config, database, job(), CHECKS)
