"""Pull requests as GitHub's API lists them, and whether each merged one became an achievement."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.draining import OWNERS, Event, check, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.db.github import MISSING
from threads_agent_dagster.settings import Settings

CODE_VERSION = "1"
SECONDS = 300.0  # one repository may take so long in a run; the next run goes on
PATIENCE_SECONDS = 60.0
GRACE = "1 hour"  # for deliveries that are on their way, failed and asked for again
CHECKS = {
    "merged_prs_all_collected": f"""
        SELECT missing.repository || '#' || missing.number FROM ({MISSING} AND merged_at < now() - interval '{GRACE}'
        AND listed_at < now() - interval '{GRACE}') AS missing""",
    "every_connected_repository_answers": """
        SELECT repository || ': ' || failure FROM github_repositories WHERE failure IS NOT NULL""",
}
_FROM_OUTSIDE: dict[str, list[tuple[str, str]]] = {"change": [], "merge_sha": [], "merged_at": [], "reason": []}


@dg.asset(
    description="One row per pull request that GitHub lists as merged in a connected or imported repository; "
    "a run asks GitHub for new ones, and for deliveries that failed once more.",
    group_name="pull_requests",
    kinds={"python", "postgres", "github"},
    owners=OWNERS,
    tags={"layer": "input", "pii": "possible"},
    code_version=CODE_VERSION,
    metadata=table_metadata(tables.pull_requests, _FROM_OUTSIDE),
    check_specs=sentences("pull_requests", CHECKS),
    pool="github",
)
def pull_requests(context: dg.AssetExecutionContext, database: Database) -> Iterator[Event]:
    from threads_agent_dagster.clients.github import from_settings
    from threads_agent_dagster.work import github

    settings = Settings()
    done = github.sync(database.engine, lambda: from_settings(settings, PATIENCE_SECONDS), datetime.now(UTC), SECONDS)
    failures = [f"{one.repository}: {one.failure}" for one in done if one.failure is not None]
    for failure in failures:
        context.log.warning(failure)
    yield dg.MaterializeResult(
        metadata={
            "repositories": len(done),
            "listed": sum(one.listed for one in done),
            "read": sum(one.read for one in done),
            "redelivered": sum(one.redelivered for one in done),
            "failures": dg.MetadataValue.text(
                "\n".join(f"{one.repository}: {one.failure}" for one in done if one.failure)
            ),
        },
        check_results=check(database, CHECKS, {}),
    )
