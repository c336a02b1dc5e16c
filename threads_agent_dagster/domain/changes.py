"""One merged change, whatever told us about it: a pull request, a push, a release, a CI run or a commit read from git.

`deliveries` makes changes of what GitHub sends, `commits` of what git remembers; `achievements` scores them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime
from typing import Any, Final, Generic, TypeVar

EARLIEST_YEAR: Final = 2005  # git's first year: an earlier clock was never set
TITLE_LIMIT: Final = 255
BODY_LIMIT: Final = 65_536  # GitHub's own limits for the text and
FILE_LIMIT: Final = 3_000  # the file list of a pull request

BOT: Final = re.compile(
    r"(\[bot\]|-bot$|^bot@|^(dependabot|renovate|greenkeeper|snyk|pre-commit-ci|github-actions|mergify|imgbot)\b)",
    re.IGNORECASE,
)
REVERT: Final = re.compile(r"""^revert(\([^)]*\))?(!?:|\s+["'])""", re.IGNORECASE)
CO_AUTHOR: Final = re.compile(r"^co-authored-by:[ \t]*([^<\n]*?)[ \t]*<([^>\n]*)>[ \t]*$", re.IGNORECASE | re.MULTILINE)

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Person:
    name: str | None = None
    email: str | None = None
    login: str | None = None


@dataclass(frozen=True, slots=True)
class FileChange:
    """Lines are None where nobody counted them (binary files, push deliveries)."""

    path: str
    additions: int | None = None
    deletions: int | None = None
    renamed_from: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """`merge_sha` is the commit on the target branch; it joins the same change seen from several sources.

    None means that the source does not tell (a commit knows no reviewers), () and 0 that it tells of none.
    """

    source_type: str
    source_key: str
    source_id: str
    repository: str
    title: str
    body: str
    completed_at: datetime
    source_url: str | None = None
    author_name: str | None = None
    author_email: str | None = None
    author_login: str | None = None
    co_authors: tuple[Person, ...] = ()
    labels: tuple[str, ...] = ()
    files: tuple[FileChange, ...] = ()
    changed_files: int | None = None
    additions: int | None = None
    deletions: int | None = None
    commits: int | None = None
    reviewers: int | None = None
    comments: int | None = None
    merge_sha: str | None = None
    started_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.started_at is not None and self.started_at > self.completed_at:
            object.__setattr__(self, "started_at", None)  # clocks disagree: when it began is not known


@dataclass(frozen=True, slots=True)
class Ignored:
    reason: str


@dataclass(frozen=True)
class IgnoreRule(Generic[Subject]):
    """Why something is not an achievement: `reason`, in words for a person, of what `applies` to."""

    reason: str
    applies: Callable[[Subject], bool]


def first_reason(rules: Sequence[IgnoreRule[Subject]], subject: Subject) -> Ignored | None:
    return next((Ignored(rule.reason) for rule in rules if rule.applies(subject)), None)


@dataclass(frozen=True, slots=True)
class GitCommit:
    """One commit of the first-parent history; `files` is its difference to the first parent.

    A merge carries what it brought: `side_commits` counts the commits, `side_authors` wrote them, `side_started_at`
    is when the first of them was authored. `history_cut` marks the edge of a shallow clone, whose parents are missing.
    """

    sha: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    authored_at: datetime
    committed_at: datetime
    message: str
    files: tuple[FileChange, ...] = ()
    side_commits: int = 0
    side_authors: tuple[Person, ...] = ()
    side_started_at: datetime | None = None
    history_cut: bool = False


def combine(richer: Change, poorer: Change) -> Change:
    """One change of two views of it: what `richer` does not tell comes from `poorer`."""
    told = {
        one.name: value
        for one in fields(Change)
        if (value := getattr(richer, one.name)) not in (None, (), "") and one.name != "metadata"
    }
    return replace(poorer, **told, metadata={**poorer.metadata, **richer.metadata})


def change_to_document(change: Change) -> dict[str, Any]:
    """A JSON-ready copy; `change_from_document` gives back an equal change."""
    document = asdict(change)
    document["completed_at"] = change.completed_at.isoformat()
    document["started_at"] = None if change.started_at is None else change.started_at.isoformat()
    return document


def change_from_document(document: Mapping[str, Any]) -> Change:
    started_at = document["started_at"]
    converted = {
        "files": tuple(FileChange(**one) for one in document["files"]),
        "co_authors": tuple(Person(**one) for one in document["co_authors"]),
        "labels": tuple(document["labels"]),
        "completed_at": datetime.fromisoformat(document["completed_at"]),
        "started_at": None if started_at is None else datetime.fromisoformat(started_at),
    }
    return Change(**{**document, **converted})


def title_of(text: str, otherwise: str) -> str:
    """The first line of a text, cut to the length that a title may have."""
    line = text.strip().split("\n", 1)[0].strip() or otherwise
    return line if len(line) <= TITLE_LIMIT else line[: TITLE_LIMIT - 1] + "…"


def body_of(text: str) -> str:
    return text.strip()[:BODY_LIMIT]


def is_bot(person: Person) -> bool:
    return any(BOT.search(name) for name in (person.login, person.name, person.email) if name)


def is_revert(title: str) -> bool:
    return REVERT.match(title) is not None


def co_authors(message: str) -> tuple[Person, ...]:
    """The people of the Co-authored-by trailers, each e-mail once, in their order; bots are not people."""
    found = {email.lower(): Person(name or None, email.lower()) for name, email in CO_AUTHOR.findall(message)}
    return tuple(person for person in found.values() if not is_bot(person))


def utc_day(moment: datetime, received_at: datetime) -> date:
    """The UTC date of `moment`, or of `received_at` when `moment` is before 2005 or after the day of receipt."""
    day, receipt = moment.astimezone(UTC).date(), received_at.astimezone(UTC).date()
    return day if day.year >= EARLIEST_YEAR and day <= receipt else receipt
