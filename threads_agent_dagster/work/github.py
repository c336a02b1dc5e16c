"""Connected GitHub repositories: new pull requests come by a webhook, or by asking GitHub where it cannot reach us.

What a webhook brings is checked against GitHub's own list: failed deliveries are asked for once more, and what is
merged and did not arrive is known by its number.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import Engine

from threads_agent_dagster.clients.github import GitHub
from threads_agent_dagster.db import github as db
from threads_agent_dagster.db import imports
from threads_agent_dagster.db.github import Connected
from threads_agent_dagster.db.pending import Priority
from threads_agent_dagster.domain.deliveries import DELIVERY_RULES
from threads_agent_dagster.domain.payloads import Payload, moment_at, text_at
from threads_agent_dagster.errors import (
    ConfigurationError,
    InvalidInput,
    NotFound,
    PermanentFailure,
    ThreadsAgentError,
)
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.pull_requests import list_merged, read_listed

EVENTS: Final = sorted(set(DELIVERY_RULES) - {"ping"})
WEBHOOK_PATH: Final = "/webhooks/github"
REDELIVERABLE: Final = timedelta(days=3)  # GitHub forgets a delivery after that
MOST_REDELIVERIES: Final = 50  # at a time; the rest follows the next time
MOST_LISTED: Final = 2000  # deliveries looked at, the newest first
Api = Callable[[], AbstractContextManager[GitHub]]


# --- connecting ---------------------------------------------------------------------------------------------------


def connect(engine: Engine, api: GitHub, settings: Settings, repository: str, url: str | None) -> Connected:
    """Has GitHub deliver to the public `url`, or without one has the repository asked on a schedule.

    Connecting again changes the hook that is there. Raises NotFound, Forbidden, ConfigurationError without a secret.
    """
    name = api.full_name(repository)
    hook_url = None if url is None else webhook_url(url)
    hook_id = None if hook_url is None else _hook(api, settings, name, hook_url)
    with engine.begin() as connection:
        db.connect(connection, name, hook_id, hook_url)
        return next(one for one in db.connected(connection) if one.repository == name)


def webhook_url(url: str) -> str:
    """Where GitHub is to deliver, of a service that the world reaches at `url`. Raises InvalidInput."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InvalidInput(f"{url!r} is not a web address", field="--url")
    if _is_private(parts.hostname):
        raise InvalidInput(
            f"GitHub cannot reach {parts.hostname}; give a public address, or none and GitHub is asked instead",
            field="--url",
        )
    path = parts.path.rstrip("/")
    return urlunsplit(
        (parts.scheme, parts.netloc, path if path.endswith(WEBHOOK_PATH) else path + WEBHOOK_PATH, "", "")
    )


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _hook(api: GitHub, settings: Settings, repository: str, url: str) -> int:
    secret = settings.github_webhook_secret
    if secret is None or not secret.get_secret_value():
        raise ConfigurationError(
            "GITHUB_WEBHOOK_SECRET is not set, so nobody could tell GitHub's deliveries from others'; "
            "set it to a long random text and connect again"
        )
    there = [one for one in api.hooks(repository) if one.get("config", {}).get("url") == url]
    if there:
        return int(api.update_hook(repository, there[0]["id"], url, secret.get_secret_value(), EVENTS)["id"])
    return int(api.create_hook(repository, url, secret.get_secret_value(), EVENTS)["id"])


def disconnect(engine: Engine, api: Api, repository: str) -> Connected:
    """Takes the webhook away and ends the polling; what was collected stays. Raises NotFound."""
    with engine.connect() as connection:
        found = next((one for one in db.connected(connection) if one.repository.lower() == repository.lower()), None)
    if found is None:
        raise NotFound(f"{repository} is not connected; `threads-agent github list` shows what is")
    if found.hook_id is not None:
        with api() as github:
            _delete_hook(github, found.repository, found.hook_id)
    with engine.begin() as connection:
        db.disconnect(connection, found.repository)
    return found


def _delete_hook(api: GitHub, repository: str, hook_id: int) -> None:
    try:
        api.delete_hook(repository, hook_id)
    except NotFound:
        return  # somebody took it away at GitHub


# --- what the schedule does ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of one repository; `failure` says what stopped it."""

    repository: str
    listed: int = 0
    read: int = 0
    redelivered: int = 0
    failure: str | None = None


def sync(engine: Engine, api: Api, now: datetime, seconds: float) -> list[Synced]:
    """Looks after each connected repository, each for at most so many seconds; one that fails stops no other."""
    with engine.connect() as connection:
        repositories = db.connected(connection)
    return [_sync_noted(engine, api, one, now, seconds) for one in repositories]


def _sync_noted(engine: Engine, api: Api, one: Connected, now: datetime, seconds: float) -> Synced:
    try:
        with api() as github:
            done = _sync(engine, github, one, now, seconds)
    except ThreadsAgentError as error:
        done = Synced(one.repository, failure=str(error))
    with engine.begin() as connection:
        db.note_check(connection, one.repository, done.failure)
    return done


def _sync(engine: Engine, api: GitHub, one: Connected, now: datetime, seconds: float) -> Synced:
    if one.hook_id is not None:
        listed = list_merged(engine, api, one.repository, now, import_id=None, since=one.connected_at)
        return Synced(one.repository, listed, redelivered=redeliver(engine, api, one.repository, one.hook_id, now))
    with engine.begin() as connection:
        import_id = imports.begin_github(connection, one.repository)
    try:
        listed = list_merged(engine, api, one.repository, now, import_id=import_id, since=one.connected_at)
        read = read_listed(engine, api, one.repository, now, seconds=seconds, priority=Priority.MEDIUM)
    finally:
        with engine.begin() as connection:
            imports.finish_github(connection, import_id)
    return Synced(one.repository, listed, read)


def redeliver(engine: Engine, api: GitHub, repository: str, hook_id: int, now: datetime) -> int:
    """Asks once more for each delivery that failed and did not arrive since; returns for how many."""
    oldest = now - REDELIVERABLE
    recent = takewhile(lambda one: _delivered_at(one) >= oldest, api.deliveries(repository, hook_id))
    failed = _failed([one for one, _ in zip(recent, range(MOST_LISTED), strict=False)])
    with engine.connect() as connection:
        arrived = db.received(connection, failed)
    asked = 0
    for guid, delivery_id in failed.items():
        if guid not in arrived and asked < MOST_REDELIVERIES:
            asked += _asked_again(api, repository, hook_id, delivery_id)
    return asked


def _asked_again(api: GitHub, repository: str, hook_id: int, delivery_id: int) -> bool:
    try:
        api.redeliver(repository, hook_id, delivery_id)
    except (InvalidInput, NotFound, PermanentFailure):
        return False  # GitHub has forgotten it; the reconciliation names what is missing
    return True


def _failed(deliveries: Iterable[Payload]) -> dict[str, int]:
    """The deliveries (guid → id, oldest first) that never succeeded and were not asked for again."""
    by_guid: dict[str, list[Payload]] = {}
    for one in deliveries:
        by_guid.setdefault(text_at(one, "guid"), []).append(one)
    return {
        guid: int(tries[-1]["id"])
        for guid, tries in reversed(by_guid.items())
        if text_at(tries[0], "event") != "ping" and not any(_succeeded(one) or one.get("redelivery") for one in tries)
    }


def _succeeded(delivery: Payload) -> bool:
    code: Any = delivery.get("status_code")
    return isinstance(code, int) and 200 <= code < 300


def _delivered_at(delivery: Payload) -> datetime:
    at = moment_at(delivery, "delivered_at")
    if at is None:
        raise InvalidInput("GitHub does not tell when it delivered", field="delivered_at")
    return at
