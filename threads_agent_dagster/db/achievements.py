"""Reads the evidence that waits for a score, stores scored achievements; lists them, and stores what people write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    insert,
    not_,
    or_,
    select,
    text,
    update,
)

from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced
from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.pending import REMARK
from threads_agent_dagster.db.tables import achievement_theme_members, achievements


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an achievement is made from: a delivery, an imported commit, both, or else what a person wrote down.

    `key` is the pending row that asked.
    """

    key: str
    inbox_id: int | None
    event: str | None
    body: bytes | None
    received_at: datetime | None
    commit_id: int | None
    change: Mapping[str, Any] | None
    import_id: int | None
    written: Mapping[str, Any] | None


_EVIDENCE = text("""
    SELECT asked.key, inbox.id AS inbox_id, inbox.event, inbox.body, inbox.received_at,
        git_commits.id AS commit_id, git_commits.change,
        coalesce(git_commits.import_id, written.import_id) AS import_id,
        CASE WHEN inbox.id IS NULL AND git_commits.id IS NULL THEN to_jsonb(written) END AS written
    FROM (
        SELECT key, substr(key, 7)::bigint AS inbox_id, NULL::bigint AS commit_id, NULL::bigint AS achievement_id
        FROM unnest(cast(:keys AS text[])) AS key WHERE key LIKE 'inbox:%'
        UNION ALL
        SELECT key, NULL, substr(key, 8)::bigint, NULL
        FROM unnest(cast(:keys AS text[])) AS key WHERE key LIKE 'commit:%'
        UNION ALL
        SELECT key, inbox_id, commit_id, id
        FROM unnest(cast(:keys AS text[])) AS key JOIN achievements ON key = 'achievement:' || id
        UNION ALL
        SELECT key, inbox_id, commit_id, achievements.id
        FROM unnest(cast(:keys AS text[])) AS key JOIN tasks ON key = 'task:' || tasks.id
        JOIN achievements ON achievements.id = (tasks.payload ->> 'achievement_id')::bigint
    ) AS asked
    LEFT JOIN inbox ON inbox.id = asked.inbox_id
    LEFT JOIN git_commits ON git_commits.id = asked.commit_id
    LEFT JOIN achievements AS written ON written.id = asked.achievement_id
""")


def read_evidence(connection: Connection, keys: Sequence[str]) -> list[Evidence]:
    """What is behind `inbox:<id>`, `commit:<id>`, `achievement:<id>` and `task:<id>`; what is gone has no evidence."""
    found = (Evidence(**row._mapping) for row in connection.execute(_EVIDENCE, {"keys": list(keys)}))
    return [one for one in found if one.body is not None or one.change is not None or one.written is not None]


@dataclass(frozen=True, slots=True)
class Known:
    """An achievement that is there already."""

    id: int
    source_key: str
    source_type: str
    merge_sha: str | None


_KNOWN = text("""
    SELECT id, source_key, source_type::text, merge_sha FROM achievements
    WHERE source_key = ANY(:keys) OR merge_sha = ANY(:shas) ORDER BY id FOR UPDATE
""")


def lock_known(connection: Connection, source_keys: Iterable[str], merge_shas: Iterable[str]) -> list[Known]:
    """The achievements under any of the source keys or merge SHAs, held until the transaction ends."""
    rows = connection.execute(_KNOWN, {"keys": list(source_keys), "shas": list(merge_shas)})
    return [Known(*row) for row in rows]


_RENAME = update(achievements).where(achievements.c.id == bindparam("known_id")).values(source_key=bindparam("to"))


def rename(connection: Connection, source_keys: Mapping[int, str]) -> None:
    """Gives achievements the key of a richer source that tells of the same change."""
    if source_keys:
        rows = [{"known_id": id_, "to": key} for id_, key in sorted(source_keys.items())]
        connection.execute(_RENAME, rows)


_EDITABLE = ("title", "category", "description")
_KEPT = ("inbox_id", "commit_id", "import_id")
_WRITTEN_BY_WORK = (
    "source_key", "source_type", "source_id", "source_url", "repository", "merge_sha", "title", "description",
    "category", "started_at", "completed_at", "impact_score", "complexity_score", "impact_rules", "complexity_rules",
    "business_value", "time_saved_hours", "performance_improvement_pct", "skills", "author_name", "author_email",
    "author_login", "metadata_json", "inbox_id", "commit_id", "import_id", "scorer_version", "run_id", "code_version",
)  # fmt: skip


def _on_conflict() -> str:
    edited = (
        f"{name} = CASE WHEN '{name}' = ANY(achievements.edited_fields) THEN achievements.{name} "
        f"ELSE excluded.{name} END"
        for name in _EDITABLE
    )
    kept = (f"{name} = coalesce(excluded.{name}, achievements.{name})" for name in _KEPT)
    others = replaced([name for name in _WRITTEN_BY_WORK if name not in (*_EDITABLE, *_KEPT)])
    update = f"ON CONFLICT (source_key) DO UPDATE SET {others}, {', '.join(edited)}, {', '.join(kept)}"
    # Deliveries come in any order: what the same source told of an earlier moment does not undo a later one.
    # (`completed_at` itself may be a person's.)
    told = "({}.metadata_json ->> 'told_at')::timestamptz"
    older = f"{told.format('excluded')} < {told.format('achievements')}"
    return f"{update} WHERE achievements.source_type <> excluded.source_type OR ({older}) IS NOT TRUE"


_STORE = insert_rows("achievements", _WRITTEN_BY_WORK, _on_conflict())


def store_achievements(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds or re-scores achievements by source key; what a person edited stays as it is."""
    connection.execute(_STORE, parameter(rows))


_MEASURED = text("""
    SELECT source_key, source_type::text, merge_sha, metadata_json -> 'derived' ->> 'category' AS category,
        impact_score, complexity_score, time_saved_hours, performance_improvement_pct,
        jsonb_array_length(skills) AS skills
    FROM achievements WHERE source_key = ANY(:keys) OR merge_sha = ANY(:shas)
""")


def read_measured(
    connection: Connection, source_keys: Iterable[str], merge_shas: Iterable[str]
) -> list[dict[str, Any]]:
    """The derived figures of the achievements under any of the source keys or merge SHAs; what people edited aside."""
    found = connection.execute(_MEASURED, {"keys": list(source_keys), "shas": list(merge_shas)})
    return [dict(row) for row in found.mappings()]


_MARK_JOINED = text(f"""
    INSERT INTO pending (asset, key, day)
    SELECT 'achievements', 'achievement:' || id, utc_day(completed_at) FROM achievements
    WHERE source_key = ANY(:keys) AND inbox_id IS NOT NULL AND commit_id IS NOT NULL ORDER BY 2 {REMARK}
""")


def mark_joined(connection: Connection, source_keys: Iterable[str]) -> None:
    """Marks achievements that two sources tell of, to be scored on what both tell."""
    connection.execute(_MARK_JOINED, {"keys": list(source_keys)})


_LINK = (
    update(achievements)
    .where(achievements.c.id == bindparam("known_id"), achievements.c.commit_id.is_(None))
    .values(commit_id=bindparam("commit"))
)


def link_commits(connection: Connection, commits: Mapping[int, int]) -> None:
    """Notes the commits (achievement id → commit id) of achievements that a richer source already tells of."""
    if commits:
        rows = [{"known_id": id_, "commit": commit} for id_, commit in sorted(commits.items())]
        connection.execute(_LINK, rows)


_INBOX = text("""
    UPDATE inbox SET status = outcome.status, reason = outcome.reason
    FROM unnest(cast(:ids AS bigint[]), cast(:statuses AS text[]), cast(:reasons AS text[]))
    AS outcome (id, status, reason) WHERE inbox.id = outcome.id
""")


def settle_inbox(connection: Connection, outcomes: Mapping[int, tuple[str, str | None]]) -> None:
    """Stores what became of deliveries: id → (processed, ignored or failed; reason)."""
    if outcomes:
        statuses, reasons = zip(*outcomes.values(), strict=True)
        parameters = {"ids": list(outcomes), "statuses": list(statuses), "reasons": list(reasons)}
        connection.execute(_INBOX, parameters)


STALE = """
    SELECT 'achievement:' || id AS key, utc_day(completed_at) AS day, code_version FROM achievements
    WHERE utc_day(completed_at) BETWEEN :first AND :last AND deleted_at IS NULL
    AND (:force OR code_version IS DISTINCT FROM :code_version)
    UNION ALL
    SELECT 'inbox:' || id, day, NULL FROM inbox WHERE day BETWEEN :first AND :last AND status = 'received'
    UNION ALL
    SELECT 'commit:' || git_commits.id, day, NULL FROM git_commits
    WHERE day BETWEEN :first AND :last AND NOT EXISTS (
        SELECT FROM achievements WHERE achievements.commit_id = git_commits.id
        OR achievements.merge_sha = git_commits.sha
    )"""


# What the API lists and what people write.


@dataclass(frozen=True, slots=True)
class Filter:
    """What a listed achievement must meet; None asks for nothing. `since` and `until` are closed UTC dates."""

    category: str | None = None
    source_type: str | None = None
    since: date | None = None
    until: date | None = None
    min_score: float | None = None
    max_score: float | None = None
    portfolio_ready: bool | None = None
    text: str | None = None
    theme: int | None = None


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    column = achievements.c
    yield column.deleted_at.is_(None)
    if wanted.category is not None:
        yield column.category == wanted.category
    if wanted.source_type is not None:
        yield column.source_type == wanted.source_type
    if wanted.since is not None:
        yield column.completed_at >= datetime.combine(wanted.since, time.min, UTC)
    if wanted.until is not None:
        yield column.completed_at < datetime.combine(wanted.until, time.min, UTC) + timedelta(days=1)
    if wanted.min_score is not None:
        yield column.impact_score >= wanted.min_score
    if wanted.max_score is not None:
        yield column.impact_score <= wanted.max_score
    if wanted.portfolio_ready is not None:
        yield column.portfolio_ready == wanted.portfolio_ready
    if wanted.text is not None:
        found = (part.icontains(wanted.text, autoescape=True) for part in (column.title, column.description))
        yield or_(*found)
    if wanted.theme is not None:
        members = achievement_theme_members.c
        yield column.id.in_(select(members.achievement_id).where(members.theme_id == wanted.theme))


# What lists show; the texts and documents of a row, its rules above all, would weigh ten times as much.
LISTED: Final = tuple(
    achievements.c[name]
    for name in (
        "id", "title", "category", "source_type", "source_url", "repository", "author_name", "started_at",
        "completed_at", "duration_hours", "impact_score", "complexity_score", "time_saved_hours",
        "performance_improvement_pct", "portfolio_ready", "portfolio_section", "display_priority", "created_at",
    )
)  # fmt: skip


def search(connection: Connection, wanted: Filter, order: Order, window: Window) -> Sequence[RowMapping]:
    """A page of the achievements that are not deleted, with the columns that lists show."""
    return read(connection, select(*LISTED).where(*_conditions(wanted)), order, window)


# xmin names the transaction that wrote the row: it differs after every change, whoever made it.
_ROW = select(achievements, text("achievements.xmin::text AS version"))


def find(
    connection: Connection, achievement_id: int, *, deleted: bool = False, lock: bool = False
) -> RowMapping | None:
    """All columns and the row's `version`; with `lock`, held until the transaction ends."""
    gone = achievements.c.deleted_at.is_not(None)
    row = _ROW.where(achievements.c.id == achievement_id, gone if deleted else not_(gone))
    return connection.execute(row.with_for_update() if lock else row).mappings().one_or_none()


def insert_written(connection: Connection, values: Mapping[str, Any]) -> int:
    """Adds what a person wrote down; returns its id."""
    return int(connection.execute(insert(achievements).values(values).returning(achievements.c.id)).scalar_one())


def edit(connection: Connection, achievement_id: int, values: Mapping[str, Any]) -> None:
    """Stores what a person changed."""
    connection.execute(update(achievements).where(achievements.c.id == achievement_id).values(values))
