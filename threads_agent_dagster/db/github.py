"""The GitHub repositories that are connected: by a webhook, or by asking GitHub on a schedule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Connected:
    """A connected repository: by the webhook `hook_id`, or without one by polling.

    `missing` counts pull requests that GitHub lists as merged and that are no achievement yet; `failure` is what went
    wrong when it was `checked_at`.
    """

    repository: str
    connected_at: datetime
    hook_id: int | None
    hook_url: str | None
    checked_at: datetime | None
    failure: str | None
    missing: int


MISSING = """
    SELECT repository, number FROM pull_requests
    WHERE reason IS NULL AND NOT EXISTS (
        SELECT FROM achievements WHERE achievements.source_key = 'gh:' || pull_requests.repository || ':pr:' || number
        OR achievements.merge_sha = pull_requests.merge_sha
    )"""
_CONNECTED = text(f"""
    SELECT repository, connected_at, hook_id, hook_url, checked_at, failure,
        (SELECT count(*) FROM ({MISSING}) AS missing WHERE missing.repository = connected.repository) AS missing
    FROM github_repositories AS connected WHERE connected_at IS NOT NULL ORDER BY repository
""")


def connected(connection: Connection) -> list[Connected]:
    """All connected repositories, by name."""
    return [Connected(**row) for row in connection.execute(_CONNECTED).mappings()]


_ANY = text("SELECT EXISTS (SELECT FROM github_repositories WHERE connected_at IS NOT NULL)")


def any_connected(connection: Connection) -> bool:
    """Whether a repository is connected."""
    return bool(connection.execute(_ANY).scalar_one())


_CONNECT = text("""
    INSERT INTO github_repositories (repository, connected_at, hook_id, hook_url)
    VALUES (:repository, clock_timestamp(), :hook_id, :hook_url)
    ON CONFLICT (repository) DO UPDATE SET hook_id = excluded.hook_id, hook_url = excluded.hook_url, failure = NULL,
        connected_at = coalesce(github_repositories.connected_at, excluded.connected_at)
""")


def connect(connection: Connection, repository: str, hook_id: int | None, hook_url: str | None) -> None:
    """Stores the connection; connecting again changes how, not since when."""
    connection.execute(_CONNECT, {"repository": repository, "hook_id": hook_id, "hook_url": hook_url})


_DISCONNECT = text("""
    UPDATE github_repositories SET connected_at = NULL, hook_id = NULL, hook_url = NULL, checked_at = NULL,
        failure = NULL, etag = CASE WHEN import_id IS NOT NULL THEN etag END,
        seen_until = CASE WHEN import_id IS NOT NULL THEN seen_until END
    WHERE repository = :repository
""")


def disconnect(connection: Connection, repository: str) -> None:
    """Ends the connection; what was collected stays."""
    connection.execute(_DISCONNECT, {"repository": repository})


_NOTE = text("""
    UPDATE github_repositories SET checked_at = clock_timestamp(), failure = :failure WHERE repository = :repository
""")


def note_check(connection: Connection, repository: str, failure: str | None) -> None:
    """Stores that GitHub was asked, and what went wrong."""
    connection.execute(_NOTE, {"repository": repository, "failure": failure})


_RECEIVED = text("SELECT delivery_id FROM inbox WHERE source = 'github' AND delivery_id = ANY(:guids)")


def received(connection: Connection, guids: Iterable[str]) -> set[str]:
    """Those of the deliveries that did arrive."""
    return set(connection.execute(_RECEIVED, {"guids": list(guids)}).scalars())
