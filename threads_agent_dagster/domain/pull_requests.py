"""What GitHub's API tells of a merged pull request: a delivery's change, deepened by files, reviews and commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from threads_agent_dagster.domain.changes import (
    FILE_LIMIT,
    Change,
    FileChange,
    Ignored,
    Person,
    co_authors,
    is_bot,
)
from threads_agent_dagster.domain.deliveries import change_from_delivery
from threads_agent_dagster.domain.payloads import (
    Payload,
    count_at,
    moment_at,
    object_at,
    objects_at,
    optional_at,
    text_at,
)
from threads_agent_dagster.errors import InvalidInput

UNSENT: Final = "PENDING"  # a review that its writer has not sent yet


@dataclass(frozen=True, slots=True)
class ReadPullRequest:
    """The API's answers about one pull request: itself, its files, its reviews and its commits."""

    pull: Payload
    files: Sequence[Payload]
    reviews: Sequence[Payload]
    commits: Sequence[Payload]


def merged_at(pull: Payload) -> datetime | None:
    """When it was merged; None when it was not."""
    return moment_at(pull, "merged_at")


def ignored_reason(pull: Payload, repository: str, now: datetime) -> str | None:
    """Why a pull request does not count, by the same table as a delivery of it; None when it does."""
    found = _told(pull, repository, now)
    return found.reason if isinstance(found, Ignored) else None


def change_from_pull_request(read: ReadPullRequest, repository: str, now: datetime) -> Change | Ignored:
    """The change; `now` is not used where GitHub tells when it was merged, as it does.

    Raises InvalidInput when an answer is not what GitHub promises.
    """
    told = _told(read.pull, repository, now)
    if isinstance(told, Ignored):
        return told
    commits = list(_written(read.commits))
    email, name = _author(told, commits)
    began = [at for one in commits if (at := moment_at(_signature(one), "date")) is not None]
    return replace(
        told,
        author_email=told.author_email or email,
        author_name=told.author_name or name,
        co_authors=_others(told, email, commits),
        files=tuple(_file(one) for one in read.files[:FILE_LIMIT]),
        reviewers=len(_reviewers(read, told.author_login)),
        started_at=min([*began, *([told.started_at] if told.started_at else [])], default=None),
    )


def _told(pull: Payload, repository: str, now: datetime) -> Change | Ignored:
    payload = {"action": "closed", "pull_request": pull, "repository": {"full_name": repository}}
    found = change_from_delivery("pull_request", payload, now)
    return found if isinstance(found, Ignored) else found[0]


def _file(file: Payload) -> FileChange:
    path = text_at(file, "filename")
    if not path:
        raise InvalidInput("a file without a name", field="filename")
    return FileChange(
        path, count_at(file, "additions"), count_at(file, "deletions"), text_at(file, "previous_filename") or None
    )


def _reviewers(read: ReadPullRequest, author: str | None) -> set[str]:
    """Who sent a review, was asked for one, or merged another's work; people only."""
    sent = (one for one in read.reviews if text_at(one, "state") != UNSENT)
    users = [optional_at(one, "user") for one in sent]
    users += [*objects_at(read.pull, "requested_reviewers"), optional_at(read.pull, "merged_by")]
    people = (user for user in users if user.get("type") != "Bot" and not is_bot(Person(login=text_at(user, "login"))))
    teams = {f"team {text_at(team, 'slug')}" for team in objects_at(read.pull, "requested_teams")}
    return ({text_at(user, "login") for user in people} | teams) - {author, ""}


# --- who wrote it -------------------------------------------------------------------------------------------------


def _written(commits: Sequence[Payload]) -> Iterator[Payload]:
    """Without the merges that only bring a branch up to date."""
    return (one for one in commits if len(objects_at(one, "parents")) < 2)


def _signature(commit: Payload) -> Payload:
    return optional_at(object_at(commit, "commit"), "author")


def _person(commit: Payload) -> Person:
    signed = _signature(commit)
    login = text_at(optional_at(commit, "author"), "login")
    return Person(text_at(signed, "name") or None, text_at(signed, "email").lower() or None, login or None)


def _author(told: Change, commits: Sequence[Payload]) -> tuple[str | None, str | None]:
    """E-mail and name with which the author of the pull request, or the only author there is, signs commits."""
    people = [_person(one) for one in commits]
    theirs = [one for one in people if one.login is not None and one.login == told.author_login]
    if not theirs and len({one.email for one in people}) == 1 and people[0].login in (None, told.author_login):
        theirs = people
    return (theirs[-1].email, theirs[-1].name) if theirs else (None, None)


def _others(told: Change, email: str | None, commits: Sequence[Payload]) -> tuple[Person, ...]:
    """Who else wrote commits or is named in a trailer, each e-mail once."""
    messages = (text_at(object_at(one, "commit"), "message") for one in commits)
    named = (person for message in messages for person in co_authors(message))
    people = (*map(_person, commits), *told.co_authors, *named)
    others = {
        one.email: one
        for one in reversed(people)
        if one.email not in (None, email) and not is_bot(one) and not (one.login and one.login == told.author_login)
    }
    return tuple(others[one] for one in dict.fromkeys(person.email for person in people) if one in others)
