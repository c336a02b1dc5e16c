"""Pull requests as GitHub's API lists and tells them, and how far each repository was listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from threads_agent_dagster.db.bulk import insert_rows, parameter


@dataclass(frozen=True, slots=True)
class Listed:
    """How far a repository was listed: the first page's `etag`, and everything updated before `seen_until`.

    With `import_id` its whole history was, under that import; without, only what was merged since it was connected.
    """

    etag: str | None = None
    seen_until: datetime | None = None
    import_id: int | None = None


_LISTED = text("SELECT etag, seen_until, import_id FROM github_repositories WHERE repository = :repository")
_NOTE_LISTED = text("""
    INSERT INTO github_repositories (repository, etag, seen_until, import_id)
    VALUES (:repository, :etag, :seen_until, :import_id)
    ON CONFLICT (repository) DO UPDATE SET etag = excluded.etag, seen_until = excluded.seen_until,
        import_id = excluded.import_id
""")


def listed(connection: Connection, repository: str) -> Listed:
    """How far the repository was listed."""
    row = connection.execute(_LISTED, {"repository": repository}).one_or_none()
    return Listed() if row is None else Listed(*row)


def note_listed(connection: Connection, repository: str, listed: Listed) -> None:
    """Stores how far the repository was listed."""
    values = {"etag": listed.etag, "seen_until": listed.seen_until, "import_id": listed.import_id}
    connection.execute(_NOTE_LISTED, {"repository": repository, **values})


_ADD = insert_rows(
    "pull_requests",
    ["import_id", "repository", "number", "merge_sha", "day", "merged_at", "updated_at", "listed_at", "reason"],
    """ON CONFLICT (repository, number) DO UPDATE SET merge_sha = excluded.merge_sha, day = excluded.day,
        merged_at = excluded.merged_at, updated_at = excluded.updated_at, reason = excluded.reason,
        import_id = coalesce(pull_requests.import_id, excluded.import_id)
    WHERE (pull_requests.updated_at, pull_requests.reason) IS DISTINCT FROM (excluded.updated_at, excluded.reason)
        OR pull_requests.import_id IS NULL""",
)


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds merged pull requests as they are listed, or what the list tells of them anew; what was read stays."""
    if rows:
        connection.execute(_ADD, parameter(rows))


_ADOPT = text("UPDATE pull_requests SET import_id = :id WHERE repository = :repository AND import_id IS NULL")


def adopt(connection: Connection, repository: str, import_id: int) -> None:
    """Puts what was only listed of the repository under the import, so that it is read."""
    connection.execute(_ADOPT, {"repository": repository, "id": import_id})


@dataclass(frozen=True, slots=True)
class Unread:
    """A listed pull request that counts and was not read since `updated_at`."""

    id: int
    number: int
    day: date
    updated_at: datetime


_UNREAD = """repository = :repository AND import_id IS NOT NULL AND reason IS NULL
    AND read_updated_at IS DISTINCT FROM updated_at"""
_COUNT_UNREAD = text(f"SELECT count(*) FROM pull_requests WHERE {_UNREAD}")
_NEXT_UNREAD = text(
    f"SELECT id, number, day, updated_at FROM pull_requests WHERE {_UNREAD} ORDER BY merged_at DESC LIMIT :limit"
)


def count_unread(connection: Connection, repository: str) -> int:
    """How many are to be read."""
    return int(connection.execute(_COUNT_UNREAD, {"repository": repository}).scalar_one())


def next_unread(connection: Connection, repository: str, limit: int) -> list[Unread]:
    """The next ones to be read, the last merged first."""
    rows = connection.execute(_NEXT_UNREAD, {"repository": repository, "limit": limit})
    return [Unread(*row) for row in rows]


_STORE = text("""
    UPDATE pull_requests SET change = :change, reason = :reason, read_updated_at = :updated_at WHERE id = :id
""").bindparams(bindparam("change", type_=JSONB(none_as_null=True)))


def store(connection: Connection, unread: Unread, change: Mapping[str, Any] | None, reason: str | None) -> bool:
    """Stores what was read of a listed pull request; False when it is gone (its import was undone meanwhile)."""
    values = {"id": unread.id, "updated_at": unread.updated_at, "change": change, "reason": reason}
    return connection.execute(_STORE, values).rowcount == 1


_COUNTS = text("""
    SELECT count(*) FILTER (WHERE change IS NOT NULL) AS changes, reason, count(*) AS rows
    FROM pull_requests WHERE import_id = :id GROUP BY reason
""")


def ignored(connection: Connection, import_id: int) -> dict[str, int]:
    """Why how many pull requests of the import do not count."""
    rows = connection.execute(_COUNTS, {"id": import_id}).all()
    return {row.reason: row.rows for row in rows if row.reason is not None}
