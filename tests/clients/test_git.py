from __future__ import annotations

import os
import random
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.git_histories import ADA, BEN, START, History, git, lines, squash_history, workflow_history
from threads_agent_dagster.clients.git import count_commits, head_email, read_commits, repository_name
from threads_agent_dagster.domain.changes import Change, FileChange, GitCommit, Ignored
from threads_agent_dagster.domain.commits import change_from_commit
from threads_agent_dagster.errors import ConfigurationError, NotFound, PermanentFailure


def titles(commits: Iterable[GitCommit]) -> list[str]:
    return [commit.message.split("\n")[0] for commit in commits]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return squash_history(2_000).write(tmp_path_factory.mktemp("git") / "large")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    history = History()
    first = history.commit("Start", files=[("a.py", lines(40)), ("logo.bin", b"\0\1\2")])
    second = history.commit(
        "feat: move and grow\n\nWhy.\n\nCo-authored-by: Ben <BEN@example.com>\n",
        commands=[b"R a.py src/a.py"],
        parents=[first],
    )
    history.commit("docs: say hello", files=[("src/a.py", lines(42)), ("README.md", lines(3))], parents=[second])
    return history.write(tmp_path / "small")


def test_commits_come_newest_first_with_their_files(small: Path) -> None:
    newest, moved, oldest = read_commits(small)
    assert titles([newest, moved, oldest]) == ["docs: say hello", "feat: move and grow", "Start"]
    assert set(newest.files) == {FileChange("README.md", 3, 0), FileChange("src/a.py", 2, 0)}
    assert moved.files == (FileChange("src/a.py", 0, 0, renamed_from="a.py"),)
    assert set(oldest.files) == {FileChange("a.py", 40, 0), FileChange("logo.bin", None, None)}
    assert oldest.parents == ()
    assert newest.parents == (moved.sha,)
    assert newest.committed_at == datetime.fromtimestamp(START + 180, UTC)
    assert newest.author.email == "ada@example.com"
    assert moved.message.startswith("feat: move and grow\n\nWhy.")


def test_a_repository_without_commits_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert list(read_commits(tmp_path)) == []
    assert count_commits(tmp_path) == 0


def test_a_folder_without_a_repository_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for reader in (repository_name, head_email, count_commits, lambda path: list(read_commits(path))):
        with pytest.raises(NotFound, match="not a git repository"):
            reader(tmp_path / "nothing")


def test_a_missing_git_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="`git` is not installed"):
        count_commits(small)


def test_a_repository_of_another_user_is_refused_with_the_remedy(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its own test
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    with pytest.raises(ConfigurationError, match=r"git config --global --add safe\.directory"):
        count_commits(small)


def test_a_damaged_history_is_an_error_not_an_end(small: Path) -> None:
    oldest = git(small, "rev-list", "--max-parents=0", "HEAD")
    (small / ".git" / "objects" / oldest[:2] / oldest[2:]).unlink()
    with pytest.raises(PermanentFailure, match="could not read the history"):
        list(read_commits(small))


def test_another_repository_in_the_environment_is_not_read(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = History()
    other.commit("Other", files=[("x", b"x")])
    monkeypatch.setenv("GIT_DIR", str(other.write(tmp_path / "other") / ".git"))
    assert titles(read_commits(small))[-1] == "Start"


def test_bytes_that_are_not_utf8_do_not_stop_the_reading(tmp_path: Path) -> None:
    history = History()
    first = history.commit(b"Gr\xfc\xdfe aus K\xf6ln", files=[(b"stra\xdfe.py", b"a\n")])
    history.commit("Odd names", files=[(b'"tab\\tnew\\nline.py"', b"b\n")], parents=[first])
    odd, latin = read_commits(history.write(tmp_path / "bytes"))
    assert latin.message == "Gr\ufffd\ufffde aus K\ufffdln"
    assert latin.files == (FileChange("stra\ufffde.py", 1, 0),)
    assert odd.files == (FileChange("tab\tnew\nline.py", 1, 0),)


def test_times_that_no_calendar_holds_become_the_epoch(tmp_path: Path) -> None:
    history = History()
    history.commit("Far", files=[("a", b"a")], at=999_999_999_999_999)
    (commit,) = read_commits(history.write(tmp_path / "far", date_format="raw-permissive"))
    assert commit.committed_at.year in (1970, 2106)  # older programs clamp, newer ones print the number


def test_since_reads_the_newer_commits_only(small: Path) -> None:
    since = datetime.fromtimestamp(START + 120, UTC)
    assert titles(read_commits(small, since)) == ["docs: say hello", "feat: move and grow"]
    assert count_commits(small, since) == 2


def test_stopping_early_leaves_no_process(large: Path) -> None:
    others = set(psutil.Process().children())  # a database server of other tests, say
    commits = read_commits(large)
    next(commits)
    started = set(psutil.Process().children()) - others
    assert started
    del commits  # what a caller's `break` does
    assert not any(child.is_running() for child in started)


def test_the_edge_of_a_shallow_clone_is_marked(small: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{small}", "cut")
    newest, edge = read_commits(tmp_path / "cut")
    assert (newest.history_cut, edge.history_cut) == (False, True)
    ignored = change_from_commit(edge, "cut")
    assert isinstance(ignored, Ignored)
    assert "shallow" in ignored.reason


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/rocket.git", "acme/rocket"),
        ("https://user:secret@github.com/acme/rocket", "acme/rocket"),
        ("git@github.com:acme/rocket.git", "acme/rocket"),
        ("ssh://git@github.com:22/acme/rocket.git/", "acme/rocket"),
        ("https://gitlab.com/group/sub/rocket.git", "group/sub/rocket"),
        ("/srv/git/rocket.git", "rocket"),
        ("file:///srv/git/rocket", "rocket"),
        ("../rocket", "rocket"),
    ],
)
def test_the_remote_names_the_repository(small: Path, url: str, name: str) -> None:
    git(small, "config", "remote.origin.url", url)
    assert repository_name(small) == name


def test_without_a_remote_the_folder_names_the_repository(small: Path) -> None:
    assert repository_name(small) == "small"
    assert repository_name(small / "src") == "small"


def test_who_works_here_is_spelled_as_the_mailmap_says(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert head_email(small) is None
    git(small, "config", "user.email", "Ada@Old.example")
    assert head_email(small) == "ada@old.example"
    (small / ".mailmap").write_text("Ada L <ada@example.com> <ada@old.example>\n")
    assert head_email(small) == "ada@example.com"


def test_the_mailmap_unites_authors(tmp_path: Path) -> None:
    history = History()
    mailmap = b"Ada Lovelace <ada@example.com> <ada@old.example>\n"
    history.commit("Start", files=[(".mailmap", mailmap)], author="ada <ada@old.example>")
    (commit,) = read_commits(history.write(tmp_path / "mailmap"))
    assert (commit.author.name, commit.author.email) == ("Ada Lovelace", "ada@example.com")


def test_a_merge_carries_what_it_brought(tmp_path: Path) -> None:
    history = History()
    base = history.commit("Start", files=[("a", b"a\n")])
    one = history.commit("one", files=[("b", b"b\n")], parents=[base], author=BEN, branch="topic")
    two = history.commit("two", files=[("c", b"c\n")], parents=[one], author=BEN, branch="topic")
    direct = history.commit("direct", files=[("d", b"d\n")], parents=[base])
    title = "Merge pull request #7 from ben/topic\n\nAdd b and c\n\nThe body."
    history.commit(title, files=[("b", b"b\n"), ("c", b"c\n")], parents=[direct, two])
    merge, *others = read_commits(history.write(tmp_path / "merge"))
    assert titles(others) == ["direct", "Start"]
    assert (merge.side_commits, [person.name for person in merge.side_authors]) == (2, ["Ben"])
    change = change_from_commit(merge, "acme/rocket")
    assert isinstance(change, Change)
    assert (change.title, change.body, change.author_name, change.commits) == ("Add b and c", "The body.", "Ben", 2)
    assert change.started_at == datetime.fromtimestamp(START + 2 * 60, UTC)
    assert {file.path for file in change.files} == {"b", "c"}
    assert change.metadata["pull_request"] == 7


def random_history(seed: int, commits: int = 60) -> History:
    """Branches from anywhere, criss-cross and octopus merges, unrelated roots."""
    rng = random.Random(seed)
    history = History()
    trunk = history.commit("root", files=[("0", b"0\n")], author=ADA)
    known = [trunk]
    for number in range(1, commits):
        author = rng.choice([ADA, BEN, "Cy <cy@example.com>"])
        others = rng.sample(known, k=min(len(known), rng.choice([0, 0, 1, 1, 2])))
        on_trunk = rng.random() < 0.4
        first = trunk if on_trunk else rng.choice(known)
        parents = [first, *(mark for mark in others if mark != first)]
        if not on_trunk and rng.random() < 0.05:
            parents = []
        branch = "main" if on_trunk else f"b{number}"
        mark = history.commit(
            f"c{number}", files=[(str(number), b"x\n")], parents=parents, author=author, branch=branch
        )
        known.append(mark)
        trunk = mark if on_trunk else trunk
    history.commit("tip", files=[("tip", b"x\n")], parents=[trunk, *rng.sample(known, 3)])
    return history


@pytest.mark.parametrize("seed", range(8))
def test_what_merges_brought_agrees_with_git(tmp_path: Path, seed: int) -> None:
    path = random_history(seed).write(tmp_path / "random")
    commits = list(read_commits(path))
    assert [commit.sha for commit in commits] == git(path, "rev-list", "--first-parent", "HEAD").split()
    merges = [commit for commit in commits if len(commit.parents) > 1]
    assert merges
    for merge in merges:
        span = ("--no-merges", merge.sha, f"^{merge.parents[0]}")
        brought = git(path, "log", "--format=%ae %at", *span).splitlines()
        assert merge.side_commits == len(brought)
        assert {person.email for person in merge.side_authors} == {line.split()[0] for line in brought}
        if brought:
            assert merge.side_started_at == datetime.fromtimestamp(min(int(line.split()[1]) for line in brought), UTC)


def test_a_squash_history_counts_as_git_counts(large: Path) -> None:
    commits = list(read_commits(large))
    assert len(commits) == count_commits(large) == int(git(large, "rev-list", "--count", "HEAD")) == 2000
    outcomes = [change_from_commit(commit, "acme/rocket") for commit in commits]
    changes = [outcome for outcome in outcomes if isinstance(outcome, Change)]
    assert len(changes) == 1800  # every tenth commit is a bot's
    assert len({change.source_key for change in changes}) == 1800
    assert {change.author_email for change in changes} == {"ada@example.com", "ben@example.com"}
    assert all("(#" not in change.title for change in changes)


def test_a_history_of_merges_and_rebased_commits_counts_as_git_counts(tmp_path: Path) -> None:
    path = workflow_history(60).write(tmp_path / "workflow")
    commits = list(read_commits(path))
    outcomes = [change_from_commit(commit, "acme/rocket") for commit in commits]
    changes = [outcome for outcome in outcomes if isinstance(outcome, Change)]
    merges = git(path, "rev-list", "--first-parent", "--merges", "--count", "HEAD")
    bots = git(path, "rev-list", "--first-parent", "--author=dependabot", "--count", "HEAD")
    reverts = git(path, "rev-list", "--first-parent", "--grep=^Revert", "--count", "HEAD")
    assert len(commits) == count_commits(path) == 61
    assert sum(change.metadata["merge"] for change in changes) == int(merges) == 20
    assert len(changes) == 61 - int(bots) - int(reverts) == 41
    assert Counter(change.author_email for change in changes) == {"ben@example.com": 20, "ada@example.com": 21}
    assert sum(bool(change.co_authors) for change in changes) == 20
    assert {(change.commits, change.title.split(":")[0]) for change in changes} == {
        (2, "feat"),
        (1, "fix"),
        (1, "chore"),
    }


def test_this_projects_own_history_counts_as_git_counts() -> None:
    project = Path(__file__).parents[2]
    if not (project / ".git").exists():
        pytest.skip("this is no checkout, so there is no history to read")
    commits = list(read_commits(project))
    assert [commit.sha for commit in commits] == git(project, "rev-list", "--first-parent", commits[0].sha).split()


def peak_memory(commits: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        commits()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_history(large: Path) -> None:
    streamed = peak_memory(lambda: deque(read_commits(large), maxlen=0))
    held = peak_memory(lambda: list(read_commits(large)))
    assert streamed < 1_000_000 < held
