"""How a commit of the first-parent history becomes a change, and why some commits do not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from threads_agent_dagster.domain.changes import (
    FILE_LIMIT,
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
)

PULL_REQUEST_MERGE: Final = re.compile(r"^Merge pull request #(\d+) from (\S+)")
BRANCH_MERGE: Final = re.compile(r"^Merge (?:remote-tracking )?branch '([^']+)'")
SQUASH_SUFFIX: Final = re.compile(r"\s*\(#(\d+)\)$")
MERGE_SUBJECT: Final = re.compile(r"^Merge (pull request|(remote-tracking )?branch(es)?|commit|tag)\b")
TRUNK: Final = "(?:main|master|trunk|develop)"
UPDATE_MERGE: Final = re.compile(  # but "Merge branch 'develop' into main" is a release
    rf"^Merge (?:branch '{TRUNK}' (?:of |into (?!main\b|master\b|trunk\b))|remote-tracking branch '[^']*/{TRUNK}')"
)

COMMIT_RULES: Final[tuple[IgnoreRule[GitCommit], ...]] = (
    IgnoreRule(
        "the history is cut here (shallow clone): what this commit changed is not known", lambda c: c.history_cut
    ),
    IgnoreRule("written by a bot", lambda c: is_bot(author_of(c))),
    IgnoreRule("a revert takes work back", lambda c: is_revert(c.message)),
    IgnoreRule("a merge that only brings a branch up to date", lambda c: _updates_a_branch(c)),
    IgnoreRule("changes no file", lambda c: not c.files),
)


def _updates_a_branch(commit: GitCommit) -> bool:
    return len(commit.parents) > 1 and UPDATE_MERGE.match(commit.message) is not None


def author_of(commit: GitCommit) -> Person:
    """Who wrote most of what a merge brought; who wrote the commit, where it brought nothing."""
    return commit.side_authors[0] if commit.side_authors else commit.author


def change_from_commit(commit: GitCommit, repository: str) -> Change | Ignored:
    return first_reason(COMMIT_RULES, commit) or _change(commit, repository)


def _change(commit: GitCommit, repository: str) -> Change:
    title, body, number = read_message(commit.message)
    author = author_of(commit)
    return Change(
        source_type="git",
        source_key=f"git:{repository}:{commit.sha}",
        source_id=commit.sha,
        repository=repository,
        title=title_of(title, commit.sha[:12]),
        body=body_of(body),
        author_name=author.name,
        author_email=author.email,
        author_login=author.login,
        co_authors=_others(commit, author),
        files=_largest(commit.files),
        changed_files=len(commit.files),
        additions=_total(file.additions for file in commit.files),
        deletions=_total(file.deletions for file in commit.files),
        commits=max(commit.side_commits, 1),
        merge_sha=commit.sha,
        started_at=commit.side_started_at or commit.authored_at,
        completed_at=commit.committed_at,
        metadata={"pull_request": number, "merge": len(commit.parents) > 1},
    )


def _others(commit: GitCommit, author: Person) -> tuple[Person, ...]:
    people = (*commit.side_authors, *co_authors(commit.message))
    others = {person.email: person for person in people if person.email != author.email and not is_bot(person)}
    return tuple(others.values())


def _largest(files: tuple[FileChange, ...]) -> tuple[FileChange, ...]:
    if len(files) <= FILE_LIMIT:
        return files
    return tuple(sorted(files, key=lambda file: -((file.additions or 0) + (file.deletions or 0)))[:FILE_LIMIT])


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def read_message(message: str) -> tuple[str, str, int | None]:
    """Title, body and pull request number.

    GitHub's merge keeps the pull request's title in the message's body, its squash appends the number to the title; of
    any other merge the branch tells more than "Merge branch".
    """
    head, _, rest = message.strip().partition("\n")
    merged = PULL_REQUEST_MERGE.match(head)
    if merged:
        title, _, body = rest.strip().partition("\n")
        return title.strip() or merged[2].partition("/")[2], body.strip(), int(merged[1])
    branch = BRANCH_MERGE.match(head)
    if branch:
        return branch[1], rest.strip(), None
    squashed = SQUASH_SUFFIX.search(head)
    if squashed:
        return head[: squashed.start()], rest.strip(), int(squashed[1])
    return head, rest.strip(), None
