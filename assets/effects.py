"""Effects: which feelings of posts go with engagement, with false-discovery control."""

from collections.abc import Iterator

import dagster as dg
from sqlalchemy import text

from assets.draining import OWNERS, Event, check, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.domain.effects import FALSE_DISCOVERY_RATE
from threads_agent_dagster.work.drain import Origin
from threads_agent_dagster.work.effects import CODE_VERSION, refresh

CHECKS = {
    "every_effect_lies_in_its_interval": """
        SELECT persona_id || ' ' || feature FROM emotion_effects
        WHERE odds_ratio NOT BETWEEN odds_ratio_low AND odds_ratio_high OR odds_ratio_low <= 0""",
    "every_verdict_follows_its_q_value": f"""
        SELECT persona_id || ' ' || feature FROM emotion_effects WHERE verdict <> CASE
            WHEN q_value IS NULL THEN 'too little data' WHEN q_value > {FALSE_DISCOVERY_RATE} THEN 'no evidence'
            WHEN odds_ratio > 1 THEN 'raises' ELSE 'lowers' END""",
}


@dg.asset(
    description="One row per persona, design and feature of arcs: what one standard deviation more of it does to the "
    "odds of an engagement; `no evidence` where nothing was found, `too little data` where nothing could be.",
    deps=["emotion_trajectories", "post_engagement"],
    group_name="effects",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "mart", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.emotion_effects,
        {
            name: [
                ("emotion_trajectories", "sentiment_compound"),
                ("post_engagement", "engagements"),
                ("post_engagement", "impressions"),
            ]
            for name in ("odds_ratio", "q_value", "verdict")
        },
    ),
    check_specs=sentences("emotion_effects", CHECKS),
)
def emotion_effects(context: dg.AssetExecutionContext, database: Database) -> Iterator[Event]:
    refresh(database.engine, Origin(context.run.run_id, CODE_VERSION))
    with database.engine.connect() as connection:
        verdicts = connection.execute(text("SELECT verdict, count(*) FROM emotion_effects GROUP BY verdict")).all()
    counts = {verdict.replace(" ", "_"): rows for verdict, rows in verdicts}
    yield dg.MaterializeResult(
        metadata=counts | {"dagster/row_count": sum(counts.values())}, check_results=check(database, CHECKS, {})
    )
