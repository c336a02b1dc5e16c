"""How a GitHub delivery becomes changes, and why most deliveries do not.

`DELIVERY_RULES` is the whole table of reasons, per event, tried from the top; an event without a reader is ignored too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from threads_agent_dagster.domain.changes import (
    Change,
    FileChange,
    GitCommit,
    Ignored,
    IgnoreRule,
    Person,
    body_of,
    co_authors,
    first_reason,
    is_bot,
    is_revert,
    title_of,
    utc_day,
)
from threads_agent_dagster.domain.commits import MERGE_SUBJECT, change_from_commit
from threads_agent_dagster.errors import InvalidInput

Payload = Mapping[str, Any]
Rule = IgnoreRule[Payload]

DELIVERS: Final = re.compile(r"\b(deploy(ment|ing|s)?|release|publish|rollout|ship)\b", re.IGNORECASE)
PRODUCTION: Final = re.compile(r"\b(prod|production|live)\b|^github-pages$", re.IGNORECASE)


def change_from_delivery(event: str, payload: Payload, received_at: datetime) -> list[Change] | Ignored:
    """What a delivery adds: one change, or several for a push. `received_at` stands in for a missing time.

    Raises InvalidInput when the payload is not one of the event's.
    """
    ignored = first_reason(DELIVERY_RULES.get(event, ()), payload)
    if ignored is not None:
        return ignored
    reader = READERS.get(event)
    return reader(payload, received_at) if reader else Ignored(f"nothing here counts the event {event!r}")


# --- a payload's values: GitHub sends null for an empty text, a deleted user, an unknown time ---------------------


def _text(value: object) -> str:
    """NUL and lone surrogates cannot be stored, so they do not come in."""
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _text_or_none(value: object) -> str | None:
    return _text(value) or None


def _object(container: Payload, name: str) -> Payload:
    value = container.get(name)
    if not isinstance(value, Mapping):
        raise InvalidInput("an object is expected here", field=name)
    return value


def _maybe(container: Payload, name: str) -> Payload:
    value = container.get(name)
    return value if isinstance(value, Mapping) else {}


def _objects(container: Payload, name: str) -> list[Payload]:
    value = container.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _count(container: Payload, name: str) -> int | None:
    value = container.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _repository(payload: Payload) -> str:
    name = _text(_object(payload, "repository").get("full_name"))
    if not name:
        raise InvalidInput("the delivery does not name its repository", field="repository.full_name")
    return name


def _identity(container: Payload, name: str) -> str:
    value = container.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str) or not value:
        raise InvalidInput("a number or an identifier is expected here", field=name)
    return str(value)


def _user(user: Payload) -> Person:
    login = user.get("login") or user.get("username")
    return Person(_text_or_none(user.get("name")), _text_or_none(user.get("email")), _text_or_none(login))


def _labels(container: Payload) -> tuple[str, ...]:
    return tuple(name for label in _objects(container, "labels") if (name := _text(label.get("name"))))


# --- why a delivery is ignored -----------------------------------------------------------------------------------


def _action_is_not(*actions: str) -> Callable[[Payload], bool]:
    return lambda payload: payload.get("action") not in actions


def _has(container: str, name: str) -> Callable[[Payload], bool]:
    return lambda payload: bool(_object(payload, container).get(name))


def _is_not(container: str, name: str, value: str) -> Callable[[Payload], bool]:
    return lambda payload: _object(payload, container).get(name) != value


def _by_a_bot(payload: Payload) -> bool:
    user = _maybe(_object(payload, "pull_request"), "user")
    return user.get("type") == "Bot" or is_bot(_user(user))


def _off_the_default_branch(payload: Payload) -> bool:
    repository = _object(payload, "repository")
    branch = _text(repository.get("default_branch") or repository.get("master_branch"))
    return _text(payload.get("ref")) != f"refs/heads/{branch}"


def _run_name(payload: Payload) -> str:
    return _text(_object(payload, "workflow_run").get("name")) or _text(_maybe(payload, "workflow").get("name"))


def _environment(payload: Payload) -> str:
    return _text(_object(payload, "deployment").get("environment"))


DELIVERY_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "ping": (Rule("GitHub's greeting to a new webhook", lambda _: True),),
    "pull_request": (
        Rule("only a closed pull request can be finished work", _action_is_not("closed")),
        Rule("closed without being merged", lambda p: not _object(p, "pull_request").get("merged")),
        Rule("written by a bot", _by_a_bot),
        Rule("a revert takes work back", lambda p: is_revert(_text(_object(p, "pull_request").get("title")))),
    ),
    "push": (
        Rule("not the default branch: work counts when it gets there", _off_the_default_branch),
        Rule("the branch was deleted", lambda p: bool(p.get("deleted"))),
        Rule("a push to a fork repeats the commits of its origin", _has("repository", "fork")),
        Rule("there are no commits in it", lambda p: not _objects(p, "commits")),
    ),
    "issues": (
        Rule("only a closed issue can be finished work", _action_is_not("closed")),
        Rule("closed as not planned", lambda p: _object(p, "issue").get("state_reason") == "not_planned"),
        Rule("closed as a duplicate", lambda p: _object(p, "issue").get("state_reason") == "duplicate"),
        Rule("a pull request counts by its own event", _has("issue", "pull_request")),
    ),
    "release": (
        Rule("only a published release is out", _action_is_not("published", "released")),
        Rule("a draft is not out yet", _has("release", "draft")),
        Rule("a pre-release is not final", _has("release", "prerelease")),
    ),
    "workflow_run": (
        Rule("the run is not finished", _action_is_not("completed")),
        Rule("the run did not succeed", _is_not("workflow_run", "conclusion", "success")),
        Rule("a run that delivers nothing: no deploy, release or publish in its name",
             lambda p: not DELIVERS.search(_run_name(p))),
    ),
    "check_run": (
        Rule("the check is not finished", _action_is_not("completed")),
        Rule("the check did not succeed", _is_not("check_run", "conclusion", "success")),
        Rule("a check that delivers nothing: no deploy, release or publish in its name",
             lambda p: not DELIVERS.search(_text(_object(p, "check_run").get("name")))),
    ),
    "deployment_status": (
        Rule("the deployment has not succeeded (yet)", _is_not("deployment_status", "state", "success")),
        Rule("not a production environment", lambda p: not PRODUCTION.search(_environment(p))),
    ),
}  # fmt: skip


# --- one reader per event ----------------------------------------------------------------------------------------


def _pull_request(payload: Payload, received_at: datetime) -> list[Change]:
    pull, repository = _object(payload, "pull_request"), _repository(payload)
    number, author, body = _identity(pull, "number"), _user(_maybe(pull, "user")), body_of(_text(pull.get("body")))
    return [
        Change(
            source_type="github_pr",
            source_key=f"gh:{repository}:pr:{number}",
            source_id=number,
            repository=repository,
            source_url=_text_or_none(pull.get("html_url")),
            title=title_of(_text(pull.get("title")), f"Pull request {number}"),
            body=body,
            author_name=author.name,
            author_email=author.email,
            author_login=author.login,
            co_authors=co_authors(body),
            labels=_labels(pull),
            changed_files=_count(pull, "changed_files"),
            additions=_count(pull, "additions"),
            deletions=_count(pull, "deletions"),
            commits=_count(pull, "commits"),
            reviewers=_reviewers(pull),
            comments=_comments(pull),
            merge_sha=_text_or_none(pull.get("merge_commit_sha")),
            started_at=_moment(pull.get("created_at")),
            completed_at=_moment(pull.get("merged_at")) or _moment(pull.get("closed_at")) or received_at,
            metadata={
                "base": _text(_maybe(pull, "base").get("ref")),
                "from_fork": bool(_maybe(_maybe(pull, "head"), "repo").get("fork")),
                "milestone": _text_or_none(_maybe(pull, "milestone").get("title")),
            },
        )
    ]


def _reviewers(pull: Payload) -> int:
    """People and teams asked to review, and who merged another's work, who has looked at it."""
    author = _maybe(pull, "user").get("login")
    people = {user.get("login") for user in (*_objects(pull, "requested_reviewers"), _maybe(pull, "merged_by"))}
    return len(people - {author, None}) + len(_objects(pull, "requested_teams"))


def _comments(pull: Payload) -> int | None:
    known = [count for name in ("comments", "review_comments") if (count := _count(pull, name)) is not None]
    return sum(known) if known else None


def _push(payload: Payload, received_at: datetime) -> list[Change] | Ignored:
    repository = _repository(payload)
    outcomes = [change_from_commit(commit, repository) for commit in _pushed(payload, received_at)]
    changes = [outcome for outcome in outcomes if isinstance(outcome, Change)]
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, Ignored)}
    return changes or Ignored("every commit: " + "; ".join(sorted(reasons)))


def _pushed(payload: Payload, received_at: datetime) -> Iterator[GitCommit]:
    """The first-parent commits of a push, as far as it tells: it names no parents, so what stands before a merge counts
    as brought by it."""
    waiting: list[Payload] = []
    for commit in _objects(payload, "commits"):
        waiting.append(commit)
        if MERGE_SUBJECT.match(_text(commit.get("message"))):
            yield _pushed_commit(waiting, received_at)
            waiting = []
    for commit in waiting:
        yield _pushed_commit([commit], received_at)


def _pushed_commit(commits: Sequence[Payload], received_at: datetime) -> GitCommit:
    """The last of the commits; those before it are what it merged."""
    last, side = commits[-1], commits[:-1]
    at = _moment(last.get("timestamp")) or received_at
    message = _text(last.get("message"))
    return GitCommit(
        sha=_identity(last, "id"),
        parents=("first", "second") if MERGE_SUBJECT.match(message) else ("first",),
        author=_user(_maybe(last, "author")),
        committer=_user(_maybe(last, "committer")),
        authored_at=at,
        committed_at=at,
        message=message,
        files=tuple(FileChange(path) for path in dict.fromkeys(_paths(commits))),
        side_commits=len(side),
        side_authors=tuple(dict.fromkeys(_user(_maybe(one, "author")) for one in side)),
        side_started_at=min((begun for one in side if (begun := _moment(one.get("timestamp")))), default=None),
    )


def _paths(commits: Sequence[Payload]) -> Iterator[str]:
    for commit in commits:
        for name in ("added", "modified", "removed"):
            yield from (path for value in commit.get(name) or () if (path := _text(value)))


def _issue(payload: Payload, received_at: datetime) -> list[Change]:
    issue, repository = _object(payload, "issue"), _repository(payload)
    number = _identity(issue, "number")
    author = _user(_maybe(issue, "assignee") or _maybe(payload, "sender"))  # who did it, not who reported it
    return [
        Change(
            source_type="github",
            source_key=f"gh:{repository}:issue:{number}",
            source_id=number,
            repository=repository,
            source_url=_text_or_none(issue.get("html_url")),
            title=title_of(_text(issue.get("title")), f"Issue {number}"),
            body=body_of(_text(issue.get("body"))),
            author_name=author.name,
            author_email=author.email,
            author_login=author.login,
            labels=_labels(issue),
            comments=_count(issue, "comments"),
            started_at=_moment(issue.get("created_at")),
            completed_at=_moment(issue.get("closed_at")) or received_at,
            metadata={"event": "issue", "milestone": _text_or_none(_maybe(issue, "milestone").get("title"))},
        )
    ]


def _release(payload: Payload, received_at: datetime) -> list[Change]:
    release, repository = _object(payload, "release"), _repository(payload)
    identity, author, tag = _identity(release, "id"), _user(_maybe(release, "author")), _text(release.get("tag_name"))
    return [
        Change(
            source_type="github",
            source_key=f"gh:{repository}:release:{identity}",
            source_id=identity,
            repository=repository,
            source_url=_text_or_none(release.get("html_url")),
            title=title_of(_text(release.get("name")), f"Release {tag}"),
            body=body_of(_text(release.get("body"))),
            author_name=author.name,
            author_email=author.email,
            author_login=author.login,
            completed_at=_moment(release.get("published_at")) or received_at,
            metadata={"event": "release", "tag": tag},
        )
    ]


def _workflow_run(payload: Payload, received_at: datetime) -> list[Change]:
    run = _object(payload, "workflow_run")
    started_at = _moment(run.get("run_started_at")) or _moment(run.get("created_at"))
    completed_at = _moment(run.get("updated_at")) or received_at
    metadata = {"event": "workflow_run", "head_sha": _text(run.get("head_sha"))}
    return [_ci(payload, "run", run, _run_name(payload), run.get("actor"), (started_at, completed_at), metadata)]


def _check_run(payload: Payload, received_at: datetime) -> list[Change]:
    check = _object(payload, "check_run")
    times = (_moment(check.get("started_at")), _moment(check.get("completed_at")) or received_at)
    metadata = {"event": "check_run", "head_sha": _text(check.get("head_sha"))}
    return [_ci(payload, "check", check, _text(check.get("name")), payload.get("sender"), times, metadata)]


def _deployment_status(payload: Payload, received_at: datetime) -> list[Change]:
    status, deployment, environment = (
        _object(payload, "deployment_status"),
        _maybe(payload, "deployment"),
        _environment(payload),
    )
    times = (_moment(deployment.get("created_at")), _moment(status.get("created_at")) or received_at)
    metadata = {"event": "deployment_status", "head_sha": _text(deployment.get("sha")), "environment": environment}
    title = f"Deploy {_text(deployment.get('ref'))} to {environment}"
    return [_ci(payload, "deployment", deployment, title, deployment.get("creator"), times, metadata)]


def _ci(
    payload: Payload,
    kind: str,
    subject: Payload,
    title: str,
    actor: object,
    times: tuple[datetime | None, datetime],
    metadata: Payload,
) -> Change:
    repository, identity = _repository(payload), _identity(subject, "id")
    author = _user(actor if isinstance(actor, Mapping) else {})
    return Change(
        source_type="ci",
        source_key=f"gh:{repository}:{kind}:{identity}",
        source_id=identity,
        repository=repository,
        source_url=_text_or_none(subject.get("html_url")),
        title=title_of(title, f"{kind} {identity}"),
        body="",
        author_name=author.name,
        author_email=author.email,
        author_login=author.login,
        started_at=times[0],
        completed_at=times[1],
        metadata=metadata,
    )


READERS: Final[dict[str, Callable[[Payload, datetime], list[Change] | Ignored]]] = {
    "pull_request": _pull_request,
    "push": _push,
    "issues": _issue,
    "release": _release,
    "workflow_run": _workflow_run,
    "check_run": _check_run,
    "deployment_status": _deployment_status,
}

# --- when it happened --------------------------------------------------------------------------------------------

EVENT_TIMES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "pull_request": (("pull_request", "merged_at"), ("pull_request", "updated_at")),
    "push": (("head_commit", "timestamp"),),
    "issues": (("issue", "closed_at"), ("issue", "updated_at")),
    "release": (("release", "published_at"), ("release", "created_at")),
    "workflow_run": (("workflow_run", "updated_at"),),
    "check_run": (("check_run", "completed_at"), ("check_run", "started_at")),
    "deployment_status": (("deployment_status", "created_at"),),
}


def event_day(event: str, payload: Payload, received_at: datetime) -> date:
    """The UTC date of what happened; the date of receipt where the payload does not tell or its clock is wrong."""
    moments = (_moment(_maybe(payload, container).get(name)) for container, name in EVENT_TIMES.get(event, ()))
    moment = next((moment for moment in moments if moment is not None), received_at)
    return utc_day(moment, received_at)
