"""Reading a checkout's history through the `git` program: nothing is written, fetched or executed from the checkout.

Commits are streamed newest first, so memory does not grow with the history.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from threads_agent_dagster.domain.changes import FileChange, GitCommit, Person
from threads_agent_dagster.errors import ConfigurationError, NotFound, PermanentFailure

CHUNK: Final = 65536
NUMSTAT: Final = re.compile(r"\n?(\d+|-)\t(\d+|-)\t(.*)", re.DOTALL)
SCP_LIKE_URL: Final = re.compile(r"^(?:[^@/]+@)?[^:/]+:(?!//)(.+)$")

# A caller's git hook exports these; they would point git at another repository than `path`.
FOREIGN_REPOSITORY: Final = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
     "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_REPLACE_REF_BASE"}
)  # fmt: skip
QUIET: Final = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}

COMMIT_FIELDS: Final = ("%H", "%P", "%aN", "%aE", "%at", "%cN", "%cE", "%ct", "%B")
GRAPH_FIELDS: Final = ("%H", "%P", "%aN", "%aE", "%at")


def repository_name(path: Path) -> str:
    """`owner/name` as the remote `origin` says it, or the checkout's folder name where there is no remote."""
    _require_repository(path)
    url = _answer(path, "config", "--get", "remote.origin.url")
    if url:
        return _name_in_url(url)
    folder = Path(_answer(path, "rev-parse", "--path-format=absolute", "--git-common-dir") or str(path))
    return (folder.parent if folder.name == ".git" else folder).name.removesuffix(".git")


def _name_in_url(url: str) -> str:
    """`owner/name` (or `group/subgroup/name`) of a remote; of a local path only the last folder names a repository."""
    scp_like = SCP_LIKE_URL.match(url)
    parts = urlsplit(url)
    if scp_like:
        name = scp_like[1]
    elif parts.scheme in {"http", "https", "ssh", "git"}:
        name = parts.path
    else:
        name = Path(parts.path.rstrip("/")).name
    return name.strip("/").removesuffix(".git")


def head_email(path: Path) -> str | None:
    """Who works here: git's `user.email` in lower case, as `.mailmap` spells it; None when it is not configured."""
    _require_repository(path)
    email = _answer(path, "config", "--get", "user.email")
    if not email:
        return None
    mapped = _answer(path, "check-mailmap", f"<{email}>") or email
    return mapped.rpartition("<")[2].rstrip(">").lower()


def own_emails(path: Path) -> frozenset[str]:
    """The addresses of who works here in the commits that HEAD reaches, as written and as `.mailmap` spells them.

    In lower case; none when it is not configured who works here, or when they wrote nothing.
    """
    me, head = head_email(path), _head(path)
    if me is None or head is None:
        return frozenset()
    with closing(_tokens(path, "log", "-z", _format(("%ae", "%aE")), head, "--")) as tokens:
        pairs = {(written.lower(), next(tokens).lower()) for written in tokens}
    return frozenset(email for pair in pairs if pair[1] == me for email in pair)


def count_commits(path: Path, since: datetime | None = None) -> int:
    """How many commits `read_commits` yields."""
    head = _head(path)
    return 0 if head is None else int(_answer(path, "rev-list", "--first-parent", "--count", *_since(since), head))


def reached_by_head(path: Path, shas: Collection[str]) -> frozenset[str]:
    """Those of `shas` that are commits of the history of HEAD, through any parent."""
    head = _head(path)
    return frozenset() if head is None else frozenset(shas) & set(_answer(path, "rev-list", head).split())


@dataclass(frozen=True, slots=True)
class HistoryCounts:
    """Of all commits that HEAD reaches; authors are distinct e-mails as `.mailmap` spells them."""

    commits: int
    merges: int
    authors: int


def count_history(path: Path, since: datetime | None = None) -> HistoryCounts:
    """What `git log` counts; zeros for a repository without commits."""
    head = _head(path)
    if head is None:
        return HistoryCounts(0, 0, 0)
    commits = _answer(path, "rev-list", "--count", *_since(since), head)
    merges = _answer(path, "rev-list", "--count", "--merges", *_since(since), head)
    authors = {email.lower() for email in _answer(path, "log", "--format=%aE", *_since(since), head).splitlines()}
    return HistoryCounts(int(commits), int(merges), len(authors))


def read_commits(path: Path, since: datetime | None = None) -> Iterator[GitCommit]:
    """The first-parent history of HEAD, newest first; nothing for a repository without commits.

    Raises NotFound when `path` is no repository, ConfigurationError when git is missing or refuses it.
    """
    head = _head(path)
    if head is None:
        return
    shallow = _shallow_edge(path)
    with closing(_log(path, head, since)) as commits, closing(_graph(path, head)) as graph:
        branches = Branches(graph, head)
        for position, commit in enumerate(commits):
            cut = commit.sha in shallow
            yield _with_side(commit, branches.brought_by(position) if len(commit.parents) > 1 else Side(), cut)


def _with_side(commit: GitCommit, side: Side, history_cut: bool) -> GitCommit:
    return replace(
        commit,
        side_commits=side.commits,
        side_authors=tuple(author for author, _ in side.authors.most_common()),
        side_started_at=side.started_at,
        history_cut=history_cut,
    )


# --- what a merge brought ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class GraphNode:
    sha: str
    parents: tuple[str, ...]
    author: Person
    authored_at: datetime


@dataclass(slots=True)
class Side:
    """The commits that one merge brought to the first-parent history; merges among them are not counted."""

    commits: int = 0
    authors: Counter[Person] = field(default_factory=Counter)
    started_at: datetime | None = None

    def add(self, node: GraphNode) -> None:
        if len(node.parents) > 1:
            return
        self.commits += 1
        self.authors[node.author] += 1
        self.started_at = node.authored_at if self.started_at is None else min(self.started_at, node.authored_at)


class Branches:
    """Which first-parent commit brought each other commit, told from one pass over the graph, children first.

    A commit is brought by the oldest first-parent commit that reaches it. Only the edge of the pass is kept: for each
    commit that is known but not yet seen, the position (0 = HEAD) of the oldest so far that reaches it.
    """

    def __init__(self, graph: Iterator[GraphNode], head: str) -> None:
        self._graph = graph
        self._next_on_trunk: str | None = head
        self._trunk_length = 0
        self._reached_from: dict[str, int] = {}
        self._open: Counter[int] = Counter()
        self._sides: defaultdict[int, Side] = defaultdict(Side)

    def brought_by(self, position: int) -> Side:
        while self._trunk_length <= position or self._open[position]:
            node = next(self._graph, None)
            if node is None:
                break
            self._see(node)
        self._open.pop(position, None)
        for done in [seen for seen in self._sides if seen < position]:
            del self._sides[done]
        return self._sides.pop(position, Side())

    def _see(self, node: GraphNode) -> None:
        reached_from = self._reached_from.pop(node.sha, None)
        if reached_from is not None:
            self._open[reached_from] -= 1
        if node.sha == self._next_on_trunk:
            position, reached = self._trunk_length, node.parents[1:]
            self._trunk_length += 1
            self._next_on_trunk = node.parents[0] if node.parents else None
        else:
            position, reached = reached_from or 0, node.parents
            self._sides[position].add(node)
        for parent in reached:
            self._reach(parent, position)

    def _reach(self, sha: str, position: int) -> None:
        before = self._reached_from.get(sha)
        if before is not None and before >= position:
            return
        if before is not None:
            self._open[before] -= 1
        self._reached_from[sha] = position
        self._open[position] += 1


def _graph(path: Path, head: str) -> Generator[GraphNode, None, None]:
    with closing(_tokens(path, "log", "--topo-order", "-z", _format(GRAPH_FIELDS), head, "--")) as tokens:
        for sha in tokens:
            parents, name, email, at = (next(tokens) for _ in GRAPH_FIELDS[1:])
            yield GraphNode(sha, tuple(parents.split()), _person(name, email), _time(at))


# --- commits and their files -------------------------------------------------------------------------------------


def _log(path: Path, head: str, since: datetime | None) -> Generator[GitCommit, None, None]:
    options = ("--first-parent", "--diff-merges=first-parent", "--numstat", "-M", "-z", _format(COMMIT_FIELDS))
    plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--encoding=UTF-8")
    with closing(_tokens(path, "log", *options, *plain, *_since(since), head, "--")) as tokens:
        sha = next(tokens, None)
        while sha is not None:
            values = [next(tokens) for _ in COMMIT_FIELDS[1:]]
            files, following = _files(tokens)
            yield _commit(sha, values, files)
            sha = following


def _files(tokens: Iterator[str]) -> tuple[tuple[FileChange, ...], str | None]:
    """The files up to the next commit's id, and that id. A rename's two paths follow in tokens of their own."""
    files: list[FileChange] = []
    for token in tokens:
        counts = NUMSTAT.fullmatch(token)
        if counts is None:
            return tuple(files), token
        additions, deletions, path = _lines(counts[1]), _lines(counts[2]), counts[3]
        renamed_from = None if path else next(tokens)
        files.append(FileChange(path or next(tokens), additions, deletions, renamed_from))
    return tuple(files), None


def _lines(text: str) -> int | None:
    return None if text == "-" else int(text)


def _commit(sha: str, values: list[str], files: tuple[FileChange, ...]) -> GitCommit:
    parents, author, author_email, authored, committer, committer_email, committed, message = values
    return GitCommit(
        sha=sha,
        parents=tuple(parents.split()),
        author=_person(author, author_email),
        committer=_person(committer, committer_email),
        authored_at=_time(authored),
        committed_at=_time(committed),
        message=message,
        files=files,
    )


def _person(name: str, email: str) -> Person:
    return Person(name or None, email.lower() or None)


def _time(seconds: str) -> datetime:
    """A commit may carry any number; what no calendar holds becomes the epoch, which no one takes for a real date."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


# --- running git -------------------------------------------------------------------------------------------------


def _format(fields: tuple[str, ...]) -> str:
    return "--format=tformat:" + "%x00".join(fields)


def _since(since: datetime | None) -> tuple[str, ...]:
    return () if since is None else (f"--since={since.isoformat()}",)


def _command(path: Path, *arguments: str) -> list[str]:
    return ["git", "--no-pager", "-C", str(path), "-c", "log.showSignature=false", *arguments]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in FOREIGN_REPOSITORY} | QUIET


def _run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  (a list of arguments, no shell)
            _command(path, *arguments),
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigurationError("the program `git` is not installed; install it to read a checkout") from error


def _answer(path: Path, *arguments: str) -> str:
    """What git prints; empty when git says no."""
    done = _run(path, *arguments)
    return done.stdout.strip() if done.returncode == 0 else ""


def _require_repository(path: Path) -> None:
    done = _run(path, "rev-parse", "--git-dir")
    if done.returncode == 0:
        return
    if "dubious ownership" in done.stderr:
        raise ConfigurationError(
            f"git refuses {path} because another user owns it; allow it with: "
            f"git config --global --add safe.directory {path}"
        )
    raise NotFound(f"{path} is not a git repository")


def _head(path: Path) -> str | None:
    _require_repository(path)
    return _answer(path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or None


def _shallow_edge(path: Path) -> frozenset[str]:
    """Commits whose parents a shallow clone left out, so that they seem to add every file."""
    name = Path(_answer(path, "rev-parse", "--path-format=absolute", "--git-path", "shallow"))
    return frozenset(name.read_text().split()) if name.is_file() else frozenset()


def _tokens(path: Path, *arguments: str) -> Generator[str, None, None]:
    """The NUL-terminated texts that git prints; bytes that are not UTF-8 become U+FFFD."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603  (a list of arguments, no shell)
            _command(path, *arguments), env=_environment(), stdout=subprocess.PIPE, stderr=complaints
        )
        assert process.stdout is not None
        try:
            yield from (token.decode("utf-8", "replace") for token in _split(process.stdout))
            if process.wait() != 0:
                complaints.seek(0)
                reason = complaints.read(2000).decode("utf-8", "replace").strip()
                raise PermanentFailure(f"git could not read the history of {path}: {reason}")
        finally:
            process.kill()  # the reader stopped early
            process.stdout.close()
            process.wait()


def _split(stream: IO[bytes]) -> Iterator[bytes]:
    pieces: list[bytes] = []
    while chunk := stream.read(CHUNK):
        first, *others = chunk.split(b"\0")
        pieces.append(first)
        for other in others:
            yield b"".join(pieces)
            pieces = [other]
