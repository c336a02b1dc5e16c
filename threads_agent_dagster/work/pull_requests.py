"""Merged pull requests by GitHub's API: listed first, a page at a time, then read one by one.

What is listed and not read yet is the to-do list, so that a run which is killed, or stopped by a rate limit, is gone on
with by the next one. A pull request is read whole before any of it is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine

from threads_agent_dagster.clients.github import GitHub
from threads_agent_dagster.db import identities, imports, pending
from threads_agent_dagster.db import pull_requests as db
from threads_agent_dagster.db.pending import Priority
from threads_agent_dagster.db.pull_requests import Listed, Unread
from threads_agent_dagster.domain.changes import Change, change_to_document, utc_day
from threads_agent_dagster.domain.payloads import Payload, identity_at, moment_at, text_at
from threads_agent_dagster.domain.pull_requests import (
    ReadPullRequest,
    change_from_pull_request,
    ignored_reason,
    merged_at,
)
from threads_agent_dagster.errors import InvalidInput, NotFound
from threads_agent_dagster.work.identities import learn_login

BATCH: Final = 50
Progress = Callable[[int, int], None]


@dataclass
class GitHubImport:
    """What an import saw: `listed` merged pull requests that were new or had changed, and how many of them were read.

    `ignored` says of the whole import, also of its earlier runs, why how many pull requests do not count.
    """

    repository: str
    import_id: int | None = None
    listed: int = 0
    read: int = 0
    ignored: dict[str, int] = field(default_factory=dict)


def import_github(
    engine: Engine, api: GitHub, repository: str, now: datetime, *, progress: Progress = lambda _, __: None
) -> GitHubImport:
    """Lists the whole history of merged pull requests, reads what is new or changed, and marks it to be scored.

    One import per repository: importing again goes on with it. Raises NotFound, Unauthorized, Unavailable.
    """
    seen = GitHubImport(api.full_name(repository))
    with engine.begin() as connection:
        seen.import_id = imports.begin_github(connection, seen.repository)
        db.adopt(connection, seen.repository, seen.import_id)
    seen.listed = list_merged(engine, api, seen.repository, now, import_id=seen.import_id, since=None)
    seen.read = read_listed(engine, api, seen.repository, now, progress=progress)
    _learn_login(engine, api)
    with engine.begin() as connection:
        seen.ignored = db.ignored(connection, seen.import_id)
        seen.import_id = imports.finish_github(connection, seen.import_id)
    return seen


def _learn_login(engine: Engine, api: GitHub) -> None:
    with engine.connect() as connection:
        known = identities.read(connection).logins
    if not known and (login := api.login()) is not None:
        with engine.begin() as connection:
            learn_login(connection, login)


def list_merged(
    engine: Engine, api: GitHub, repository: str, now: datetime, *, import_id: int | None, since: datetime | None
) -> int:
    """Stores what GitHub lists as merged, back to what the last listing saw; returns how many there were.

    With `since` only what was merged since then, else everything. What is listed under an import is to be read.
    """
    with engine.begin() as connection:
        before = db.listed(connection, repository)
    if since is None and before.import_id is None:
        before = Listed()  # so far only a part of the history was listed
    listing = api.closed_pull_requests(repository, before.etag)
    if listing.unchanged:
        return 0
    floor = max((one for one in (before.seen_until, since) if one is not None), default=None)
    newest, count = before.seen_until, 0
    for page in listing.pages:
        updated = [_moment(pull, "updated_at") for pull in page]
        newest = max([*updated, *([newest] if newest else [])], default=None)
        rows = [
            _row(pull, repository, import_id, now)
            for pull in page
            if (at := merged_at(pull)) is not None and (since is None or at >= since)
        ]
        with engine.begin() as connection:
            db.add(connection, rows)
        count += len(rows)
        if floor is not None and updated and min(updated) < floor:
            break
    whole = import_id if since is None else before.import_id
    with engine.begin() as connection:
        db.note_listed(connection, repository, Listed(listing.etag, newest, whole))
    return count


def _row(pull: Payload, repository: str, import_id: int | None, now: datetime) -> dict[str, Any]:
    at = _moment(pull, "merged_at")
    return {
        "import_id": import_id,
        "repository": repository,
        "number": int(identity_at(pull, "number")),
        "merge_sha": text_at(pull, "merge_commit_sha") or None,
        "day": utc_day(at, now),
        "merged_at": at,
        "updated_at": _moment(pull, "updated_at"),
        "listed_at": now,
        "reason": ignored_reason(pull, repository, now),
    }


def _moment(pull: Payload, name: str) -> datetime:
    moment = moment_at(pull, name)
    if moment is None:
        raise InvalidInput("GitHub's list does not tell it", field=name)
    return moment


def read_listed(
    engine: Engine,
    api: GitHub,
    repository: str,
    now: datetime,
    *,
    seconds: float | None = None,
    priority: Priority = Priority.LOW,
    progress: Progress = lambda _, __: None,
) -> int:
    """Reads what is listed and not read yet, at most for so many seconds; returns how many were."""
    until = None if seconds is None else time.monotonic() + seconds
    with engine.connect() as connection:
        total = db.count_unread(connection, repository)
    done = 0
    while done < total:
        with engine.connect() as connection:
            batch = db.next_unread(connection, repository, BATCH)
        if not batch:
            break
        for one in batch:
            if until is not None and time.monotonic() >= until:
                return done
            _read(engine, api, repository, one, now, priority)
            done += 1
            progress(done, total)
    return done


def _read(engine: Engine, api: GitHub, repository: str, unread: Unread, now: datetime, priority: Priority) -> None:
    change, reason = _told(api, repository, unread.number, now)
    with engine.begin() as connection:
        if db.store(connection, unread, None if change is None else change_to_document(change), reason) and change:
            pending.mark(connection, "achievements", [(f"pull:{unread.id}", unread.day)], priority)


def _told(api: GitHub, repository: str, number: int, now: datetime) -> tuple[Change | None, str | None]:
    """The change, or why there is none."""
    try:
        read = ReadPullRequest(
            api.pull_request(repository, number),
            api.files(repository, number),
            api.reviews(repository, number),
            api.commits(repository, number),
        )
        told = change_from_pull_request(read, repository, now)
    except NotFound:
        return None, "GitHub lists it and does not show it"
    except InvalidInput as error:
        return None, f"GitHub's answer cannot be read: {error}"
    return (told, None) if isinstance(told, Change) else (None, told.reason)
