"""Stores what an import brings, all under its id, and takes exactly that away again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, insert, text

from threads_agent_dagster.db import pending
from threads_agent_dagster.db.bulk import insert_rows, parameter
from threads_agent_dagster.db.tables import imports


@dataclass(frozen=True, slots=True)
class Import:
    """One import as it was recorded."""

    id: int
    kind: str
    source: str
    demo: bool
    started_at: datetime
    row_count: int
    finished: bool


def begin(connection: Connection, kind: str, source: str, *, demo: bool) -> int:
    """The id under which the rows to come are stored; the work they cause waits behind what people ask for."""
    pending.defer(connection)
    statement = insert(imports).values(kind=kind, source=source, demo=demo).returning(imports.c.id)
    return int(connection.execute(statement).scalar_one())


_FINISH = text("UPDATE imports SET finished_at = clock_timestamp(), row_count = :rows WHERE id = :id")
_DROP = text("DELETE FROM imports WHERE id = :id")


def finish(connection: Connection, import_id: int, rows: int) -> int | None:
    """Records how much came in; an import that brought nothing new is not recorded and has no id."""
    connection.execute(_FINISH if rows else _DROP, {"id": import_id, "rows": rows} if rows else {"id": import_id})
    return import_id if rows else None


_BEGIN_GITHUB = text("""
    INSERT INTO imports (kind, source) VALUES ('github', :repository)
    ON CONFLICT (source) WHERE kind = 'github' DO UPDATE SET finished_at = NULL RETURNING id
""")
_FINISH_GITHUB = text("""
    UPDATE imports SET finished_at = CASE WHEN told.unread = 0 THEN clock_timestamp() END, row_count = told.read
    FROM (
        SELECT count(*) FILTER (WHERE change IS NOT NULL) AS read,
            count(*) FILTER (WHERE reason IS NULL AND read_updated_at IS DISTINCT FROM updated_at) AS unread
        FROM pull_requests WHERE import_id = :id
    ) AS told WHERE id = :id
""")
_DROP_EMPTY = text("""
    DELETE FROM imports WHERE id = :id AND NOT EXISTS (SELECT FROM pull_requests WHERE import_id = :id)
""")


def begin_github(connection: Connection, repository: str) -> int:
    """The id of the repository's import by the API; there is one, and an interrupted one is gone on with."""
    return int(connection.execute(_BEGIN_GITHUB, {"repository": repository}).scalar_one())


def finish_github(connection: Connection, import_id: int) -> int | None:
    """Records how much came in, and whether that is all; an import that brought nothing is not recorded."""
    connection.execute(_FINISH_GITHUB, {"id": import_id})
    return None if connection.execute(_DROP_EMPTY, {"id": import_id}).rowcount else import_id


_ADD_COMMITS = insert_rows(
    "git_commits", ["import_id", "repository", "sha", "day", "change"], "ON CONFLICT DO NOTHING RETURNING id, day"
)


def add_commits(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[int, date]:
    """Adds the commits that are not there yet; returns id → day of the new ones."""
    return {row.id: row.day for row in connection.execute(_ADD_COMMITS, parameter(rows))}


_PERSONA = text("INSERT INTO personas (id, name, voice) VALUES (:id, :name, :voice) ON CONFLICT DO NOTHING")


def ensure_persona(connection: Connection, persona_id: str, name: str, voice: str) -> None:
    """Adds the persona unless it is there."""
    connection.execute(_PERSONA, {"id": persona_id, "name": name, "voice": voice})


_ADD_EXPERIMENTS = insert_rows(
    "experiments",
    ["id", "name", "status", "plan", "plan_hash", "started_at", "ended_at", "import_id"],
    "ON CONFLICT DO NOTHING RETURNING id",
)
_ADD_VARIANTS = insert_rows(
    "variants",
    ["variant_id", "experiment_id", "dimensions", "hook", "is_control", "import_id"],
    "ON CONFLICT DO NOTHING RETURNING variant_id",
)
_ADD_POSTS = insert_rows(
    "posts",
    ["persona_id", "hook", "body", "ts", "metadata", "variant_id", "import_id", "generator"],
    "RETURNING variant_id, id",
)
_ADD_OBSERVATIONS = insert_rows(
    "observations",
    ["event_id", "variant_id", "impressions", "successes", "observed_at"],
    "ON CONFLICT DO NOTHING",
)
_ADD_SNAPSHOTS = insert_rows(
    "engagement_snapshots",
    ["event_id", "post_id", "impressions", "engagements", "observed_at"],
    "ON CONFLICT DO NOTHING",
)


def add_experiments(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Adds the experiments that are not there yet; returns how many."""
    return len(connection.execute(_ADD_EXPERIMENTS, parameter(rows)).all())


def add_variants(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Adds the variants that are not there yet; returns the ids of the new ones."""
    return {row.variant_id for row in connection.execute(_ADD_VARIANTS, parameter(rows))}


def add_posts(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Adds posts that show a variant; returns variant id → post id."""
    return {row.variant_id: row.id for row in connection.execute(_ADD_POSTS, parameter(rows))}


def add_measurements(
    connection: Connection, observed: Sequence[Mapping[str, Any]], snapshots: Sequence[Mapping[str, Any]]
) -> None:
    """Adds observations of variants and engagement snapshots of their posts, each once by event id."""
    connection.execute(_ADD_OBSERVATIONS, parameter(observed))
    connection.execute(_ADD_SNAPSHOTS, parameter(snapshots))


_LIST = text("""
    SELECT id, kind, source, demo, started_at, coalesce(row_count, 0) AS row_count, finished_at IS NOT NULL AS finished
    FROM imports ORDER BY id
""")


def read_all(connection: Connection) -> list[Import]:
    """All imports that are there, oldest first."""
    return [Import(*row) for row in connection.execute(_LIST)]


_POLLED = text("""
    SELECT repository FROM github_repositories JOIN imports ON imports.source = github_repositories.repository
    WHERE imports.id = :id AND imports.kind = 'github' AND connected_at IS NOT NULL AND hook_id IS NULL
""")


def polled_repository(connection: Connection, import_id: int) -> str | None:
    """The connected repository whose pull requests go on coming in under this import."""
    repository: str | None = connection.execute(_POLLED, {"id": import_id}).scalar_one_or_none()
    return repository


# What others use or tell of too outlives the import; achievements are scored again on what is left of their evidence.
_KEEP_VARIANTS = text("""
    UPDATE variants SET import_id = NULL WHERE import_id = :id AND EXISTS (
        SELECT FROM posts WHERE posts.variant_id = variants.variant_id AND posts.import_id IS DISTINCT FROM :id)
""")
_DETACH = text(f"""
    WITH told AS (
        SELECT achievements.id, git_commits.id AS commit_id, pull_requests.id AS pull_request_id,
            coalesce(pull_requests.import_id, git_commits.import_id) AS import_id
        FROM achievements
        LEFT JOIN git_commits ON git_commits.id = achievements.commit_id AND git_commits.import_id <> :id
        LEFT JOIN pull_requests ON pull_requests.id = achievements.pull_request_id
            AND pull_requests.import_id IS DISTINCT FROM :id
        WHERE achievements.import_id = :id
            OR achievements.commit_id IN (SELECT id FROM git_commits WHERE import_id = :id)
            OR achievements.pull_request_id IN (SELECT id FROM pull_requests WHERE import_id = :id)
    ), kept AS (
        UPDATE achievements SET commit_id = told.commit_id, pull_request_id = told.pull_request_id,
            import_id = told.import_id
        FROM told WHERE achievements.id = told.id
            AND num_nonnulls(achievements.inbox_id, achievements.push_id, told.commit_id, told.pull_request_id) > 0
        RETURNING achievements.id, utc_day(completed_at) AS day
    )
    INSERT INTO pending (asset, key, day)
    SELECT 'achievements', 'achievement:' || id, day FROM kept ORDER BY 2 {pending.REMARK}
""")
_FORGET_LISTING = text("UPDATE github_repositories SET etag = NULL, seen_until = NULL WHERE import_id = :id")
_UNUSED_PERSONAS = text("""
    DELETE FROM personas WHERE id = ANY(:personas) AND id <> 'default'
    AND NOT EXISTS (SELECT FROM posts WHERE posts.persona_id = personas.id)
""")
_PERSONAS = text("SELECT DISTINCT persona_id FROM posts WHERE import_id = :id")


def remove(connection: Connection, import_id: int) -> bool:
    """Takes away what the import brought and everything derived from it; False when there is no such import."""
    parameters = {"id": import_id}
    personas = [row.persona_id for row in connection.execute(_PERSONAS, parameters)]
    connection.execute(_KEEP_VARIANTS, parameters)
    connection.execute(_DETACH, parameters)
    connection.execute(_FORGET_LISTING, parameters)
    removed = connection.execute(_DROP, parameters).rowcount
    connection.execute(_UNUSED_PERSONAS, {"personas": personas})
    return bool(removed)


_BEST = text("""
    SELECT id, title, description, category::text, impact_score, metadata_json FROM achievements
    WHERE import_id = :id ORDER BY impact_score DESC NULLS LAST, id LIMIT :limit
""")


def best_achievements(connection: Connection, import_id: int, limit: int) -> Sequence[Any]:
    """The achievements of the import with the highest impact; rows of id, title, description, category, ..."""
    return connection.execute(_BEST, {"id": import_id, "limit": limit}).all()
