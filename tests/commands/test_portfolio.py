"""`threads-agent portfolio`: what is ready as a file, and such a file checked against the history that it speaks of."""

from __future__ import annotations

import json
import random
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from threads_agent_dagster.commands.portfolio import app
from threads_agent_dagster.errors import InvalidInput, NotFound, ThreadsAgentError
from threads_agent_dagster.work import achievements, imports
from threads_agent_dagster.work.drain import Origin, drain

FILES = {
    "md": "portfolio.md", "html": "portfolio.html", "pdf": "portfolio.pdf", "json-resume": "resume.json",
    "csv": "portfolio.csv", "linkedin": "linkedin.txt", "web": "portfolio.zip",
}  # fmt: skip
UNSEALED = ("csv", "web")  # a date inside a ZIP, say, may change without a word being another
PERSON = {"NAME": "Ada Lovelace", "EMAIL": "ada@example.org", "DATE": "2026-03-02T10:00:00Z"}
COMMITTER = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in PERSON.items()}


def _git(path: Path, *arguments: str) -> None:
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "PATH": "/usr/bin:/bin:/usr/local/bin"}
    subprocess.run(["git", "-C", str(path), *arguments], check=True, capture_output=True, env=alone | COMMITTER)


def _make_checkout(path: Path, titles: Sequence[str]) -> Path:
    path.mkdir()
    _git(path, "init", "--quiet", "--initial-branch=main")
    _git(path, "remote", "add", "origin", "https://github.com/acme/app.git")
    for nth, title in enumerate(titles):
        (path / f"module_{nth}.py").write_text("value = 1\n" * (20 * (nth + 1)))
        _git(path, "add", ".")
        _git(path, "commit", "--quiet", "-m", title)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return _make_checkout(tmp_path / "app", ["feat: speak French", "fix: say it right", "perf: say it faster"])


@pytest.fixture
def collected(engine: Engine, checkout: Path) -> None:
    """The checkout's three changes, scored; the first two are ready for the portfolio."""
    imports.import_git(engine, checkout, datetime.now(UTC))
    drain(engine, achievements.job(), None, Origin("run-1", achievements.CODE_VERSION))
    with engine.begin() as connection:
        connection.execute(text("UPDATE achievements SET portfolio_ready = title NOT LIKE 'perf%'"))


Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DATABASE_URL", database_url)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def _failure(result: Result) -> ThreadsAgentError:
    assert isinstance(result.exception, ThreadsAgentError)
    return result.exception


def _verdicts(run: Run, *arguments: Any) -> tuple[dict[str, bool | None], int]:
    result = run("verify", *arguments, "--json")
    return {check["name"]: check["passed"] for check in json.loads(result.stdout)}, result.exit_code


@pytest.mark.parametrize("form", FILES)
def test_what_is_exported_can_be_verified(run: Run, checkout: Path, collected: None, form: str) -> None:
    result = run("export", "--format", form)
    assert result.exit_code == 0, result.output
    assert Path(FILES[form]).stat().st_size > 0
    verdicts, code = _verdicts(run, FILES[form], "--checkout", checkout)
    assert (set(verdicts.values()), code) == ({True}, 0)
    assert {"every merge is in the history", "the commits give the same scores"} < set(verdicts)


def test_without_a_checkout_merges_are_not_called_good(run: Run, collected: None) -> None:
    run("export")
    verdicts, code = _verdicts(run, "portfolio.md")
    assert (verdicts["every merge is in the history"], code) == (None, 0)
    assert "not checked  every merge is in the history (no checkout was given)" in run("verify", "portfolio.md").stdout


@pytest.mark.parametrize("form", FILES)
def test_a_file_that_was_changed_fails(run: Run, collected: None, form: str) -> None:
    run("export", "--format", form)
    path = Path(FILES[form])
    if form == "web":
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        contents["index.html"] = contents["index.html"].replace(b"French", b"German")
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in contents.items():
                archive.writestr(name, body)
    else:
        body = path.read_bytes()
        path.write_bytes(body.replace(b"French", b"German") if form != "pdf" else body.replace(b"Ada", b"Eve"))
        assert path.read_bytes() != body
    verdicts, code = _verdicts(run, path)
    assert False in verdicts.values()
    assert code == 1


def test_work_that_is_not_in_the_history_fails(run: Run, tmp_path: Path, collected: None) -> None:
    """Every hash can be made up anew; the history cannot."""
    run("export")
    rewritten = _make_checkout(tmp_path / "rewritten", ["something else"])
    verdicts, code = _verdicts(run, "portfolio.md", "--checkout", rewritten)
    assert (verdicts["the file is unchanged"], verdicts["every merge is in the history"], code) == (True, False, 1)
    _git(rewritten, "remote", "set-url", "origin", "https://github.com/acme/other.git")
    result = run("verify", "portfolio.md", "--checkout", rewritten)
    assert "0 of 2 merges found, 2 achievements have none in acme/other" in result.stdout
    assert result.exit_code == 1


def test_a_score_that_the_commits_do_not_give_fails(run: Run, engine: Engine, checkout: Path, collected: None) -> None:
    """Rules that add up to another score pass every hash; scoring the commits again does not."""
    rules = json.dumps([{"name": "made up", "input": 1, "weight": 100, "points": 99.5}])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE achievements SET impact_score = 99.5, impact_rules = cast(:rules AS jsonb)"), {"rules": rules}
        )
    run("export")
    verdicts, code = _verdicts(run, "portfolio.md", "--checkout", checkout)
    assert [name for name, passed in verdicts.items() if not passed] == ["the commits give the same scores"]
    assert code == 1


def test_the_post_needs_its_manifest_beside_it(run: Run, collected: None) -> None:
    result = run("export", "--format", "linkedin", "--output", "post.txt")
    assert [row.split(":")[0] for row in result.stdout.splitlines()] == ["post.txt", "post.txt.manifest.json"]
    assert _verdicts(run, "post.txt")[1] == 0
    Path("post.txt.manifest.json").unlink()
    assert "no portfolio manifest" in str(_failure(run("verify", "post.txt")))


def test_the_selection_is_the_options(run: Run, collected: None) -> None:
    def titles(*options: str) -> list[str]:
        result = run("export", "--format", "json-resume", "--output", "-", *options)
        return [project["name"] for project in json.loads(result.stdout)["projects"]]

    assert set(titles()) == {"feat: speak French", "fix: say it right"}
    assert len(titles("--all")) == 3
    assert titles("--section", "bugfix") == ["fix: say it right"]
    assert len(titles("--author", "ada@example.org", "--since", "2026-03-02")) == 2
    for options in (("--author", "Eve"), ("--since", "2026-03-03")):
        assert isinstance(_failure(run("export", *options)), NotFound)


def test_nothing_ready_is_said(run: Run, engine: Engine, collected: None) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE achievements SET portfolio_ready = false"))
    error = _failure(run("export"))
    assert isinstance(error, NotFound)
    assert "marked ready" in str(error)
    assert not Path("portfolio.md").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["export", "--format", "docx"], "--format"),
        (["export", "--since", "soon"], "--since"),
        (["export", "--output", "missing/portfolio.md"], "--output"),
    ],
)
def test_wrong_options_are_named(run: Run, collected: None, arguments: list[str], named: str) -> None:
    error = _failure(run(*arguments))
    assert isinstance(error, InvalidInput)
    assert error.field == named


@pytest.mark.parametrize(
    "body", [b"", b"PK\x03\x04", b"{}", b'{"meta": {"manifest": {"format": 1}}}', b"\xef\xbb\xbfa,b", b"%PDF"]
)
def test_what_is_no_portfolio_is_refused(run: Run, body: bytes) -> None:
    Path("file").write_bytes(body)
    assert isinstance(_failure(run("verify", "file")), InvalidInput)
    assert isinstance(_failure(run("verify", "no-file")), NotFound)


@pytest.mark.parametrize("form", FILES)
def test_torn_files_are_refused_or_fail(run: Run, collected: None, form: str) -> None:
    run("export", "--format", form, "--output", "whole")
    whole, chance = Path("whole").read_bytes(), random.Random(5)
    for _ in range(60):
        start = chance.randrange(len(whole) - 1)
        torn = whole[:start] + chance.randbytes(chance.randrange(9)) + whole[start + chance.randrange(1, 60) :]
        Path("whole").write_bytes(torn)
        result = run("verify", "whole", "--json")
        assert result.exception is None or isinstance(result.exception, InvalidInput | SystemExit)
        assert result.exit_code == 1 or form in UNSEALED, torn
