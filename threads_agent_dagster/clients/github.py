"""GitHub's REST API: pull requests and webhooks of a repository, as JSON that is not interpreted here.

GET is tried again after what passes (5xx, a torn answer, a lost connection, a rate limit within the patience that the
caller has); what writes is sent once. The token goes to the API's own origin only.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import httpx

from threads_agent_dagster.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PermanentFailure,
    ThreadsAgentError,
    Unauthorized,
    Unavailable,
)
from threads_agent_dagster.settings import Settings

API_VERSION: Final = "2022-11-28"
PER_PAGE: Final = 100  # GitHub's most
TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
ATTEMPTS: Final = 4
BACKOFF_SECONDS: Final = 0.5
SECONDARY_LIMIT_SECONDS: Final = 60.0  # "wait for at least one minute", where GitHub names no time
REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
FAILURES: Final[Mapping[int, type[ThreadsAgentError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    422: InvalidInput,
    451: Forbidden,
}
REMEDIES: Final[Mapping[int, str]] = {
    401: "; GITHUB_TOKEN is not valid (any more)",
    403: "; the token in GITHUB_TOKEN lacks a permission for this",
    404: "; it does not exist, or the token in GITHUB_TOKEN may not see it",
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """Pages of a list, newest first as asked; `etag` is that of the first page. Unchanged since: no pages, and True."""

    pages: Iterator[list[Json]]
    etag: str | None
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Clock:
    """What waiting needs; tests bring their own."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time


def repository_of(text: str) -> str:
    """`owner/name`, also out of the repository's address. Raises InvalidInput for anything else."""
    name = re.sub(r"^(https://github\.com/|git@github\.com:)", "", text.strip()).removesuffix("/").removesuffix(".git")
    if not REPOSITORY.fullmatch(name) or name.endswith(("/.", "/..")):
        raise InvalidInput(f"{text!r} is not a repository written OWNER/NAME", field="repository")
    return name


def from_settings(settings: Settings, patience: float) -> GitHub:
    """A client with the configured token. Raises ConfigurationError without one."""
    token = settings.github_token
    if token is None or not token.get_secret_value():
        raise ConfigurationError(
            "GITHUB_TOKEN is not set; make a token that may read the repository's pull requests (and, to connect it, "
            "write its webhooks) and set it in the environment or in .env"
        )
    return GitHub(settings.github_api_url, token.get_secret_value(), patience)


class RateLimited(Unavailable):
    """GitHub asks for more patience than there is."""


class GitHub:
    """The API at `base_url`; `patience` is how many seconds one request may wait for a rate limit."""

    def __init__(self, base_url: str, token: str, patience: float, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._patience = patience
        self._reset_at: float | None = None
        self._client = httpx.Client(
            base_url=base_url,
            timeout=TIMEOUT,
            follow_redirects=True,  # a renamed repository
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {token}",
                "User-Agent": "threads-agent",
                "X-GitHub-Api-Version": API_VERSION,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    # --- what is asked --------------------------------------------------------------------------------------------

    def login(self) -> str | None:
        """Whose token it is; None where the token is no person's (an app's, an action's)."""
        try:
            return str(self._get("/user").json()["login"])
        except Forbidden:
            return None

    def full_name(self, repository: str) -> str:
        """The repository's name as GitHub spells it now. Raises NotFound."""
        return str(self._get(f"/repos/{repository}").json()["full_name"])

    def closed_pull_requests(self, repository: str, etag: str | None) -> Listing:
        """The closed ones, last updated first. A listing whose first page still has the `etag` is unchanged."""
        path = f"/repos/{repository}/pulls"
        query: dict[str, str | int] = {"state": "closed", "sort": "updated", "direction": "desc", "per_page": PER_PAGE}
        first = self._get(path, query, headers={"If-None-Match": etag} if etag else {})
        if first.status_code == 304:
            return Listing(iter(()), etag, unchanged=True)
        return Listing(self._pages(first), first.headers.get("ETag"), unchanged=False)

    def pull_request(self, repository: str, number: int) -> Json:
        return self._object(self._get(f"/repos/{repository}/pulls/{number}"))

    def files(self, repository: str, number: int) -> list[Json]:
        """At most 3,000: GitHub tells no more."""
        return self._all(f"/repos/{repository}/pulls/{number}/files")

    def reviews(self, repository: str, number: int) -> list[Json]:
        return self._all(f"/repos/{repository}/pulls/{number}/reviews")

    def commits(self, repository: str, number: int) -> list[Json]:
        """At most 250: GitHub tells no more."""
        return self._all(f"/repos/{repository}/pulls/{number}/commits")

    def hooks(self, repository: str) -> list[Json]:
        return self._all(f"/repos/{repository}/hooks")

    def create_hook(self, repository: str, url: str, secret: str, events: list[str]) -> Json:
        """Asks GitHub to deliver `events` to `url`, signed with the secret."""
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        body = {"name": "web", "active": True, "events": events, "config": config}
        return self._object(self._send("POST", f"/repos/{repository}/hooks", json=body))

    def update_hook(self, repository: str, hook_id: int, url: str, secret: str, events: list[str]) -> Json:
        """Makes an existing hook what `create_hook` would create."""
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        body = {"active": True, "events": events, "config": config}
        return self._object(self._send("PATCH", f"/repos/{repository}/hooks/{hook_id}", json=body))

    def delete_hook(self, repository: str, hook_id: int) -> None:
        self._send("DELETE", f"/repos/{repository}/hooks/{hook_id}")

    def deliveries(self, repository: str, hook_id: int) -> Iterator[Json]:
        """What GitHub tried to deliver, newest first."""
        first = self._get(f"/repos/{repository}/hooks/{hook_id}/deliveries", {"per_page": PER_PAGE})
        for page in self._pages(first):
            yield from page

    def redeliver(self, repository: str, hook_id: int, delivery_id: int) -> None:
        """Asks GitHub to deliver it again."""
        self._send("POST", f"/repos/{repository}/hooks/{hook_id}/deliveries/{delivery_id}/attempts")

    # --- answers --------------------------------------------------------------------------------------------------

    def _all(self, path: str) -> list[Json]:
        return [one for page in self._pages(self._get(path, {"per_page": PER_PAGE})) for one in page]

    def _pages(self, first: httpx.Response) -> Iterator[list[Json]]:
        response: httpx.Response | None = first
        while response is not None:
            yield self._objects(response)
            following = response.links.get("next", {}).get("url")
            response = self._get(self._own(following)) if following else None

    def _own(self, url: str) -> str:
        """A link that GitHub gave; the token is for its origin only."""
        there, here = httpx.URL(url), self._client.base_url
        if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
            raise PermanentFailure(f"GitHub's answer leads to another host ({there.host}); not followed")
        return url

    @staticmethod
    def _object(response: httpx.Response) -> Json:
        answer = response.json()
        if not isinstance(answer, dict):
            raise PermanentFailure(f"{response.request.url} answered no object")
        return answer

    @staticmethod
    def _objects(response: httpx.Response) -> list[Json]:
        answer = response.json()
        if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
            raise PermanentFailure(f"{response.request.url} answered no list of objects")
        return answer

    # --- requests -------------------------------------------------------------------------------------------------

    def _get(
        self, path: str, query: Mapping[str, str | int] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A whole answer with JSON in it, or 304. Raises the failure of another one after the last attempt."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._whole(self._send("GET", path, params=query, headers=headers))
            except RateLimited:
                raise
            except Unavailable:
                if attempt == ATTEMPTS:
                    raise
                self._clock.sleep(BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
        raise AssertionError  # the loop returns or raises

    @staticmethod
    def _whole(response: httpx.Response) -> httpx.Response:
        try:
            if response.status_code != 304:
                response.json()
        except ValueError as error:
            raise Unavailable(f"{response.request.url} answered what is not JSON: {error}") from error
        return response

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        waited = 0.0
        while True:
            waited += self._rest(self._until_reset(), waited)
            try:
                response = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                raise Unavailable(f"{self._client.base_url.host} does not answer: {error}") from error
            self._note_budget(response)
            pause = self._pause(response)
            if pause is None:
                return _accepted(response)
            waited += self._rest(pause, waited)

    def _note_budget(self, response: httpx.Response) -> None:
        spent = response.headers.get("X-RateLimit-Remaining") == "0"
        self._reset_at = _number(response, "X-RateLimit-Reset") if spent else None

    def _until_reset(self) -> float:
        left = 0.0 if self._reset_at is None else self._reset_at - self._clock.now()
        return left + 1.0 if left > 0 else 0.0

    def _pause(self, response: httpx.Response) -> float | None:
        """How long to wait for a rate limit; None when the answer is not about one."""
        if response.status_code not in (403, 429):
            return None
        after = _number(response, "Retry-After")
        if after is not None:
            return after
        if self._reset_at is not None:
            return max(1.0, self._until_reset())
        limited = response.status_code == 429 or "rate limit" in response.text.lower()
        return SECONDARY_LIMIT_SECONDS if limited else None

    def _rest(self, seconds: float, waited: float) -> float:
        """Waits, unless it takes more than the patience. Raises Unavailable that says until when."""
        if seconds and waited + seconds > self._patience:
            until = datetime.fromtimestamp(self._clock.now() + seconds, UTC)
            raise RateLimited(f"GitHub's rate limit is spent until {until:%H:%M:%S} UTC; what was read is kept")
        if seconds:
            self._clock.sleep(seconds)
            self._reset_at = None
        return seconds


def _number(response: httpx.Response, header: str) -> float | None:
    value = response.headers.get(header, "")
    return float(value) if value.isascii() and value.isdigit() else None


def _accepted(response: httpx.Response) -> httpx.Response:
    if response.is_success or response.status_code == 304:
        return response
    said = (
        f"{response.request.method} {response.request.url.path} answered {response.status_code}: {_message(response)}"
    )
    failure = FAILURES.get(response.status_code, Unavailable if response.is_server_error else PermanentFailure)
    raise failure(said + REMEDIES.get(response.status_code, ""))


def _message(response: httpx.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return response.reason_phrase
    if not isinstance(answer, dict):
        return response.reason_phrase
    details = [str(one["message"]) for one in answer.get("errors") or [] if isinstance(one, dict) and "message" in one]
    return "; ".join([str(answer.get("message", response.reason_phrase)), *details])[:500]
