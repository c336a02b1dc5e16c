"""`threads-agent portfolio export | published | verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, database
from threads_agent_dagster.domain.portfolio_files import Export, Format
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work.portfolio import SIDECAR

if TYPE_CHECKING:
    from threads_agent_dagster.domain.portfolio_manifest import Check

app = typer.Typer(help="The portfolio as a file, and checking such a file.", no_args_is_help=True)

FormatOption = Annotated[str, typer.Option("--format", help=", ".join(get_args(Format)), metavar="FORMAT")]
SinceOption = Annotated[str | None, typer.Option("--since", help="Only what was completed since (YYYY-MM-DD, UTC).")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Where to write; - for stdout. Default: portfolio.<format> here.")
]


@app.command("export")
def export(
    form: FormatOption = "md",
    section: Annotated[str | None, typer.Option(help="Only this section.")] = None,
    since: SinceOption = None,
    author: Annotated[str | None, typer.Option(help="Only theirs: a name, a login or an e-mail address.")] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="Of all people, not only yours.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is not marked ready; best impact first.")
    ] = False,
    output: OutputOption = None,
    home: HomeOption = None,
) -> None:
    """Write the portfolio: what is marked ready and yours (`threads-agent me show`), each item with its evidence."""
    from threads_agent_dagster.db.portfolio import Selection
    from threads_agent_dagster.work import portfolio

    if form not in get_args(Format):
        raise InvalidInput(f"{form!r} is none of {', '.join(get_args(Format))}", field="--format")
    wanted = Selection(author, everyone, section, _date(since), everything)
    with database(home) as engine:
        made = portfolio.export(engine, cast(Format, form), wanted, datetime.now(UTC))
    if output == Path("-"):
        sys.stdout.buffer.write(made.body)
        return
    for path in _written(made, output or Path(made.name)):
        typer.echo(f"{path}: {path.stat().st_size:,} bytes")


def _written(made: Export, path: Path) -> Iterable[Path]:
    files = {path: made.body}
    if made.manifest is not None:
        files[path.with_name(path.name + SIDECAR)] = made.manifest
    try:
        for target, body in files.items():
            target.write_bytes(body)
    except OSError as error:
        raise InvalidInput(f"cannot write {error.filename}: {error.strerror}", field="--output") from None
    return files


@app.command("published")
def published(
    csv: Annotated[Path, typer.Argument(help="achievement_id,linkedin_post_id,linkedin_published_at")],
    home: HomeOption = None,
) -> None:
    """Note which achievements were published on LinkedIn, from a CSV. A bad line stops it whole."""
    from threads_agent_dagster.work import portfolio

    with database(home) as engine:
        noted = portfolio.record_publications(engine, csv.expanduser())
    typer.echo(f"{noted} achievements are noted as published")


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="An exported portfolio.")],
    checkout: Annotated[Path | None, typer.Option(help="A git checkout to look its merges up in.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a portfolio without any network: its hashes, its sums and, with --checkout, its merges and scores."""
    from threads_agent_dagster.work import portfolio

    checks = portfolio.verify(file, checkout)
    typer.echo(json.dumps([asdict(check) for check in checks]) if as_json else "\n".join(map(_in_words, checks)))
    if any(check.passed is False for check in checks):
        raise typer.Exit(1)


def _in_words(check: Check) -> str:
    verdict = {True: "holds", False: "FAILS", None: "not checked"}[check.passed]
    return f"{verdict:11}  {check.name}" + (f" ({check.detail})" if check.detail else "")


def _date(value: str | None) -> date | None:
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidInput(f"{value!r} is not a date written YYYY-MM-DD", field="--since") from None
