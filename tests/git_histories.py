"""Histories for `git fast-import`: any shape of commits, without a work tree and in no time."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

START = 1_600_000_000  # 2020-09-13T12:26:40Z
ADA = "Ada <ada@example.com>"
BEN = "Ben <ben@example.com>"
BOT = "dependabot[bot] <49699333+dependabot[bot]@users.noreply.github.com>"


def git(path: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace").strip()


@dataclass
class History:
    """A stream for `git fast-import`; commits are told by their marks."""

    stream: bytearray = field(default_factory=bytearray)
    marks: int = 0

    def commit(
        self,
        message: str | bytes,
        *,
        files: Iterable[tuple[str | bytes, bytes]] = (),
        commands: Sequence[bytes] = (),
        parents: Sequence[int] = (),
        author: str = ADA,
        at: int | None = None,
        branch: str = "main",
    ) -> int:
        self.marks += 1
        text = message if isinstance(message, bytes) else message.encode()
        when = START + self.marks * 60 if at is None else at
        self._line(f"reset refs/heads/{branch}".encode(), b"") if not parents else None
        self._line(f"commit refs/heads/{branch}".encode(), f"mark :{self.marks}".encode())
        self._line(f"author {author} {when} +0000".encode(), f"committer {author} {when} +0000".encode())
        self._data(text)
        for word, parent in zip(("from", *("merge",) * len(parents)), parents, strict=False):
            self._line(f"{word} :{parent}".encode())
        for path, content in files:
            name = path if isinstance(path, bytes) else path.encode()
            self._line(b"M 100644 inline " + name)
            self._data(content)
        self._line(*commands)
        return self.marks

    def write(self, path: Path, *, date_format: str = "raw") -> Path:
        path.mkdir()
        git(path, "init", "--quiet", "--initial-branch=main")
        command = ["git", "-C", str(path), "fast-import", "--quiet", "--force", f"--date-format={date_format}"]
        subprocess.run(
            [*command[:3], "-c", "fastimport.unpackLimit=100", *command[3:]], input=bytes(self.stream), check=True
        )
        git(path, "reset", "--quiet", "--hard", "main")
        return path

    def _line(self, *lines: bytes) -> None:
        for line in lines:
            self.stream += line + b"\n"

    def _data(self, data: bytes) -> None:
        self.stream += b"data %d\n" % len(data) + data + b"\n"


def lines(count: int, word: str = "line") -> bytes:
    return "".join(f"{word} {number}\n" for number in range(count)).encode()


def pieces(number: int, seed: int) -> list[tuple[str, bytes]]:
    """What a change is made of: mostly little, sometimes much, with tests, documents and lock files among it."""
    rng = random.Random(f"{seed}/{number}")
    folders = ("src", "src", "lib", "api", "web", "tests", "docs")
    files = {
        f"{folder}/{rng.randrange(9)}/{'notes.md' if folder == 'docs' else f'm{index}.py'}": int(
            rng.lognormvariate(2.5, 1.4)
        )
        for index, folder in enumerate(rng.choices(folders, k=1 + int(rng.lognormvariate(0.6, 1.0))))
    }
    if rng.random() < 0.1:
        files["poetry.lock"] = 2_000
    return [(path, lines(1 + length, f"v{number}")) for path, length in files.items()]


def squash_history(commits: int, seed: int | None = None) -> History:
    """Squashed pull requests by two people and, every tenth, a bot; with a seed, of all sizes."""
    history = History()
    parents: list[int] = []
    for number in range(commits):
        kind = ("feat", "fix", "docs", "chore", "refactor")[number % 5]
        author = BOT if number % 10 == 9 else (ADA, BEN)[number % 2]
        path = ("src/app.py", "tests/test_app.py", "README.md", "package-lock.json")[number % 4]
        files = [(path, f"{number}\n".encode())] if seed is None else pieces(number, seed)
        mark = history.commit(f"{kind}: change {number} (#{number})", files=files, parents=parents, author=author)
        parents = [mark]
    return history


def workflow_history(changes: int, seed: int | None = None) -> History:
    """Merged pull requests and rebased commits in turns, with co-authors, bots, reverts; with a seed, of all sizes."""
    history = History()
    trunk = history.commit("chore: start", files=[("a", b"a\n")])
    for number in range(changes):
        file = f"src/m{number}.py"
        if number % 3 == 0:
            side = history.commit("one", files=[(file, lines(9))], parents=[trunk], author=BEN, branch=f"t{number}")
            files = [(file, lines(30))] if seed is None else pieces(number, seed)
            side = history.commit("two", files=files, parents=[side], author=BEN, branch=f"t{number}")
            title = f"Merge pull request #{number} from ben/t{number}\n\nfeat: module {number}"
            trunk = history.commit(title, files=files, parents=[trunk, side])
        elif number % 3 == 1:
            message = f"fix: module {number}\n\nCo-authored-by: Cy <cy@example.com>"
            files = [(file, lines(5))] if seed is None else pieces(number, seed)
            trunk = history.commit(message, files=files, parents=[trunk])
        else:
            message, author = ((f'Revert "module {number}"', ADA), (f"chore(deps): bump {number}", BOT))[number % 2]
            trunk = history.commit(message, files=[(file, lines(2))], parents=[trunk], author=author)
    return history
