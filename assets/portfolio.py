"""The portfolio: what is ready to be shown, sealed as its exports are."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import OWNERS, Event, check, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.drain import Origin

CODE_VERSION = "1"  # raise it when the same achievements give other rows
_READY = "SELECT id FROM achievements WHERE portfolio_ready AND deleted_at IS NULL"
CHECKS = {
    "the_portfolio_is_what_is_ready": f"""
        (({_READY}) EXCEPT (SELECT achievement_id FROM portfolio))
        UNION ALL ((SELECT achievement_id FROM portfolio) EXCEPT ({_READY}))""",
    "positions_have_no_gap": """
        SELECT position FROM portfolio WHERE position NOT BETWEEN 1 AND (SELECT count(*) FROM portfolio)
        UNION ALL SELECT position FROM portfolio GROUP BY position HAVING count(*) > 1""",
    "every_claim_that_is_shown_has_its_quote": """
        SELECT achievements.id FROM portfolio JOIN achievements ON achievements.id = achievement_id,
        jsonb_path_query(business_value, '$.claims[*]') AS claim WHERE coalesce(claim ->> 'quote', '') = ''""",
}


@dg.asset(
    description="One row per achievement that is ready for the portfolio, in its order, with the hash that an export's "
    "manifest holds of it.",
    deps=["achievements"],
    group_name="portfolio",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "mart", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.portfolio,
        {
            "achievement_id": [("achievements", "id")],
            "position": [("achievements", "display_priority"), ("achievements", "impact_score")],
            "section": [("achievements", "portfolio_section"), ("achievements", "category")],
            "content_sha256": [("achievements", "title"), ("achievements", "impact_rules")],
        },
    ),
    check_specs=sentences("portfolio", CHECKS),
)
def portfolio(context: dg.AssetExecutionContext, database: Database) -> Iterator[Event]:
    from threads_agent_dagster.work.portfolio import seal

    sealed = seal(database.engine, Origin(context.run_id, CODE_VERSION))
    yield dg.MaterializeResult(
        metadata={"dagster/row_count": sealed.items, "portfolio_sha256": sealed.portfolio_sha256},
        check_results=check(database, CHECKS, {}),
    )
