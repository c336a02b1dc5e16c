"""How a GitHub delivery becomes changes, and why most deliveries do not.

`DELIVERY_RULES` is the whole table of reasons, per event, tried from the top; an event without a reader is ignored too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Final

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
from threads_agent_dagster.domain.payloads import (
    Payload,
    count_at,
    identity_at,
    moment_at,
    object_at,
    objects_at,
    optional_at,
    text_at,
    texts_at,
    web_address_at,
)
from threads_agent_dagster.errors import InvalidInput

Rule = IgnoreRule[Payload]

DELIVERS: Final = re.compile(r"\b(deploy(ment|ing|s)?|release|publish|rollout|ship)\b", re.IGNORECASE)
GHOST: Final = "ghost"  # whom GitHub names where a user is deleted
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


# --- parts that several events share ------------------------------------------------------------------------------


def _repository(payload: Payload) -> str:
    name = text_at(object_at(payload, "repository"), "full_name")
    if not name:
        raise InvalidInput("the delivery does not name its repository", field="repository.full_name")
    return name


def _user(container: Payload, name: str) -> Person:
    user = optional_at(container, name)
    login = text_at(user, "login") or text_at(user, "username")
    if login == GHOST:
        return Person()
    return Person(text_at(user, "name") or None, text_at(user, "email").lower() or None, login or None)


def _is_bot(container: Payload, name: str) -> bool:
    return optional_at(container, name).get("type") == "Bot" or is_bot(_user(container, name))


def _labels(container: Payload) -> tuple[str, ...]:
    named = (text_at(label, "name") for label in objects_at(container, "labels"))
    return (*texts_at(container, "labels"), *(name for name in named if name))


# --- why a delivery is ignored -----------------------------------------------------------------------------------


def _action_is_not(*actions: str) -> Callable[[Payload], bool]:
    return lambda payload: payload.get("action") not in actions


def _has(container: str, name: str) -> Callable[[Payload], bool]:
    return lambda payload: bool(object_at(payload, container).get(name))


def _is_not(container: str, name: str, value: str) -> Callable[[Payload], bool]:
    return lambda payload: object_at(payload, container).get(name) != value


def _is_merged(pull: Payload) -> bool:
    return bool(pull.get("merged") or pull.get("merged_at"))


def _closed_by_a_bot(payload: Payload) -> bool:
    """An assigned issue counts for the assignee, whoever closes it."""
    return not optional_at(object_at(payload, "issue"), "assignee") and _is_bot(payload, "sender")


def _off_the_default_branch(payload: Payload) -> bool:
    repository = object_at(payload, "repository")
    branch = text_at(repository, "default_branch") or text_at(repository, "master_branch")
    return text_at(payload, "ref") != f"refs/heads/{branch}"


def _for_a_pull_request(payload: Payload) -> bool:
    return object_at(payload, "workflow_run").get("event") in ("pull_request", "pull_request_target")


def _run_name(payload: Payload) -> str:
    return text_at(object_at(payload, "workflow_run"), "name") or text_at(optional_at(payload, "workflow"), "name")


def _environment(payload: Payload) -> str:
    return text_at(object_at(payload, "deployment"), "environment")


DELIVERY_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "ping": (Rule("GitHub's greeting to a new webhook", lambda _: True),),
    "pull_request": (
        Rule("only a closed pull request can be finished work", _action_is_not("closed")),
        Rule("closed without being merged", lambda p: not _is_merged(object_at(p, "pull_request"))),
        Rule("written by a bot", lambda p: _is_bot(object_at(p, "pull_request"), "user")),
        Rule("a revert takes work back", lambda p: is_revert(text_at(object_at(p, "pull_request"), "title"))),
    ),
    "push": (
        Rule("not the default branch: work counts when it gets there", _off_the_default_branch),
        Rule("the branch was deleted", lambda p: bool(p.get("deleted"))),
        Rule("a push to a fork repeats the commits of its origin", _has("repository", "fork")),
        Rule("there are no commits in it", lambda p: not objects_at(p, "commits")),
    ),
    "issues": (
        Rule("only a closed issue can be finished work", _action_is_not("closed")),
        Rule("closed as not planned", lambda p: object_at(p, "issue").get("state_reason") == "not_planned"),
        Rule("closed as a duplicate", lambda p: object_at(p, "issue").get("state_reason") == "duplicate"),
        Rule("closed by a bot", _closed_by_a_bot),
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
        Rule("a run for a pull request is a rehearsal", _for_a_pull_request),
        Rule("a run that delivers nothing: no deploy, release or publish in its name",
             lambda p: not DELIVERS.search(_run_name(p))),
    ),
    "check_run": (
        Rule("the check is not finished", _action_is_not("completed")),
        Rule("the check did not succeed", _is_not("check_run", "conclusion", "success")),
        Rule("a check that delivers nothing: no deploy, release or publish in its name",
             lambda p: not DELIVERS.search(text_at(object_at(p, "check_run"), "name"))),
    ),
    "deployment_status": (
        Rule("the deployment has not succeeded (yet)", _is_not("deployment_status", "state", "success")),
        Rule("not a production environment", lambda p: not PRODUCTION.search(_environment(p))),
    ),
}  # fmt: skip


# --- one reader per event ----------------------------------------------------------------------------------------


def _pull_request(payload: Payload, received_at: datetime) -> list[Change]:
    pull, repository = object_at(payload, "pull_request"), _repository(payload)
    number, author = identity_at(pull, "number"), _user(pull, "user")
    body = body_of(text_at(pull, "body"))
    return [
        Change(
            source_type="github_pr",
            source_key=f"gh:{repository}:pr:{number}",
            source_id=number,
            repository=repository,
            source_url=web_address_at(pull, "html_url"),
            title=title_of(text_at(pull, "title"), f"Pull request {number}"),
            body=body,
            author_name=author.name,
            author_email=author.email,
            author_login=author.login,
            co_authors=co_authors(body),
            labels=_labels(pull),
            changed_files=count_at(pull, "changed_files"),
            additions=count_at(pull, "additions"),
            deletions=count_at(pull, "deletions"),
            commits=count_at(pull, "commits"),
            reviewers=_reviewers(pull),
            comments=_comments(pull),
            merge_sha=text_at(pull, "merge_commit_sha") or None,
            started_at=moment_at(pull, "created_at"),
            completed_at=moment_at(pull, "merged_at") or moment_at(pull, "closed_at") or received_at,
            metadata={
                "base": text_at(optional_at(pull, "base"), "ref"),
                "from_fork": bool(optional_at(optional_at(pull, "head"), "repo").get("fork")),
                "milestone": text_at(optional_at(pull, "milestone"), "title") or None,
            },
        )
    ]


def _reviewers(pull: Payload) -> int:
    """People and teams asked to review, and who merged another's work, who has looked at it."""
    others = (*objects_at(pull, "requested_reviewers"), optional_at(pull, "merged_by"))
    people = {text_at(user, "login") for user in others} - {text_at(optional_at(pull, "user"), "login"), ""}
    return len(people) + len(objects_at(pull, "requested_teams"))


def _comments(pull: Payload) -> int | None:
    known = [count for name in ("comments", "review_comments") if (count := count_at(pull, name)) is not None]
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
    for commit in objects_at(payload, "commits"):
        waiting.append(commit)
        if MERGE_SUBJECT.match(text_at(commit, "message")):
            yield _pushed_commit(waiting, received_at)
            waiting = []
    for commit in waiting:
        yield _pushed_commit([commit], received_at)


def _pushed_commit(commits: Sequence[Payload], received_at: datetime) -> GitCommit:
    """The last of the commits; those before it are what it merged."""
    last, side = commits[-1], commits[:-1]
    at = moment_at(last, "timestamp") or received_at
    message = text_at(last, "message")
    return GitCommit(
        sha=identity_at(last, "id"),
        parents=("first", "second") if MERGE_SUBJECT.match(message) else ("first",),
        author=_user(last, "author"),
        committer=_user(last, "committer"),
        authored_at=at,
        committed_at=at,
        message=message,
        files=tuple(FileChange(path) for path in dict.fromkeys(_paths(commits))),
        side_commits=len(side),
        side_authors=tuple(one for one, _ in Counter(_user(one, "author") for one in side).most_common()),
        side_started_at=min((begun for one in side if (begun := moment_at(one, "timestamp"))), default=None),
    )


def _paths(commits: Sequence[Payload]) -> Iterator[str]:
    for commit in commits:
        for name in ("added", "modified", "removed"):
            yield from texts_at(commit, name)


def _issue(payload: Payload, received_at: datetime) -> list[Change]:
    issue, repository = object_at(payload, "issue"), _repository(payload)
    number = identity_at(issue, "number")
    author = _user(issue, "assignee") if issue.get("assignee") else _user(payload, "sender")  # not who reported it
    return [
        Change(
            source_type="github",
            source_key=f"gh:{repository}:issue:{number}",
            source_id=number,
            repository=repository,
            source_url=web_address_at(issue, "html_url"),
            title=title_of(text_at(issue, "title"), f"Issue {number}"),
            body=body_of(text_at(issue, "body")),
            author_name=author.name,
            author_email=author.email,
            author_login=author.login,
            labels=_labels(issue),
            comments=count_at(issue, "comments"),
            started_at=moment_at(issue, "created_at"),
            completed_at=moment_at(issue, "closed_at") or received_at,
            metadata={"event": "issue", "milestone": text_at(optional_at(issue, "milestone"), "title") or None},
        )
    ]


def _release(payload: Payload, received_at: datetime) -> list[Change]:
    release, repository = object_at(payload, "release"), _repository(payload)
    identity, author = identity_at(release, "id"), _user(release, "author")
    tag = text_at(release, "tag_name")
    return [
        Change(
            source_type="github",
            source_key=f"gh:{repository}:release:{identity}",
            source_id=identity,
            repository=repository,
            source_url=web_address_at(release, "html_url"),
            title=title_of(text_at(release, "name"), f"Release {tag}"),
            body=body_of(text_at(release, "body")),
            author_name=author.name,
            author_email=author.email,
            author_login=author.login,
            completed_at=moment_at(release, "published_at") or received_at,
            metadata={"event": "release", "tag": tag},
        )
    ]


def _workflow_run(payload: Payload, received_at: datetime) -> list[Change]:
    run = object_at(payload, "workflow_run")
    started_at = moment_at(run, "run_started_at") or moment_at(run, "created_at")
    completed_at = moment_at(run, "updated_at") or received_at
    metadata = {"event": "workflow_run", "head_sha": text_at(run, "head_sha")}
    return [_ci(payload, "run", run, _run_name(payload), _user(run, "actor"), (started_at, completed_at), metadata)]


def _check_run(payload: Payload, received_at: datetime) -> list[Change]:
    check = object_at(payload, "check_run")
    times = (moment_at(check, "started_at"), moment_at(check, "completed_at") or received_at)
    metadata = {"event": "check_run", "head_sha": text_at(check, "head_sha")}
    return [_ci(payload, "check", check, text_at(check, "name"), _user(payload, "sender"), times, metadata)]


def _deployment_status(payload: Payload, received_at: datetime) -> list[Change]:
    status, deployment = object_at(payload, "deployment_status"), object_at(payload, "deployment")
    environment = _environment(payload)
    times = (moment_at(deployment, "created_at"), moment_at(status, "created_at") or received_at)
    metadata = {"event": "deployment_status", "head_sha": text_at(deployment, "sha"), "environment": environment}
    title = f"Deploy {text_at(deployment, 'ref')} to {environment}"
    return [_ci(payload, "deployment", deployment, title, _user(deployment, "creator"), times, metadata)]


def _ci(
    payload: Payload,
    kind: str,
    subject: Payload,
    title: str,
    author: Person,
    times: tuple[datetime | None, datetime],
    metadata: Payload,
) -> Change:
    repository, identity = _repository(payload), identity_at(subject, "id")
    return Change(
        source_type="ci",
        source_key=f"gh:{repository}:{kind}:{identity}",
        source_id=identity,
        repository=repository,
        source_url=web_address_at(subject, "html_url"),
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
    moments = (moment_at(optional_at(payload, container), name) for container, name in EVENT_TIMES.get(event, ()))
    moment = next((moment for moment in moments if moment is not None), received_at)
    return utc_day(moment, received_at)
