"""Portfolios: what is ready as a file, and a file checked against itself and against a checkout."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from threads_agent_dagster.clients import git
from threads_agent_dagster.db import identities
from threads_agent_dagster.db import portfolio as db
from threads_agent_dagster.db.portfolio import Selection
from threads_agent_dagster.domain import portfolio_manifest as manifests
from threads_agent_dagster.domain.achievements import SCORER_VERSION, score
from threads_agent_dagster.domain.changes import Change
from threads_agent_dagster.domain.commits import change_from_commit
from threads_agent_dagster.domain.portfolio import assemble
from threads_agent_dagster.domain.portfolio_csv import from_csv
from threads_agent_dagster.domain.portfolio_files import Export, Format, write
from threads_agent_dagster.domain.portfolio_manifest import Check
from threads_agent_dagster.errors import InvalidInput, NotFound
from threads_agent_dagster.work.drain import Origin

LARGEST_MEMBER: Final = 512 * 2**20  # bytes; a small ZIP can hold a file that fills the memory
TORN_ARCHIVE: Final = (  # what zipfile raises for one; a RuntimeError asks for a password
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError, RuntimeError,
)  # fmt: skip
ONLY_MINE: Final = "; only your own were looked at (`threads-agent me show`), ask for everyone's to see the others"
SIDECAR: Final = ".manifest.json"


def export(engine: Engine, form: Format, wanted: Selection, now: datetime) -> Export:
    """The portfolio as a file. Raises NotFound when nothing is selected."""
    with engine.connect() as connection:
        portfolio = assemble(db.exported(connection, wanted), now)
        mine = wanted.is_mine(identities.read(connection))
    if not portfolio.sections:
        raise NotFound(_nothing(wanted) + (ONLY_MINE if mine else ""))
    return write(form, portfolio)


def _nothing(wanted: Selection) -> str:
    if wanted.everything:
        return "no achievement is selected, so there is nothing to export"
    return (
        "no achievement that is selected is marked ready for the portfolio, so there is nothing to export; "
        "mark some (portfolio_ready), or ask for all"
    )


@dataclass(frozen=True, slots=True)
class Sealed:
    """How many items are ready, and the hash over all of them that an export's manifest holds."""

    items: int
    portfolio_sha256: str


def seal(engine: Engine, origin: Origin) -> Sealed:
    """Stores what is ready, in its order, with the hash of each item."""
    with engine.begin() as connection:
        rows = db.exported(connection, Selection(everyone=True))
        documents = manifests.item_documents(assemble(rows, datetime.now(UTC)))
        made_by = {"run_id": origin.run_id, "code_version": origin.code_version}
        sealed = [
            {
                "achievement_id": document["id"],
                "position": position,
                "section": document["section"],
                "content_sha256": document["content_sha256"],
                **made_by,
            }
            for position, document in enumerate(documents, 1)
        ]
        db.replace_sealed(connection, sealed)
    return Sealed(len(sealed), manifests.portfolio_sha256(one["content_sha256"] for one in sealed))


PUBLISHED_COLUMNS: Final = ["achievement_id", "linkedin_post_id", "linkedin_published_at"]


def record_publications(engine: Engine, path: Path) -> int:
    """Notes what was published on LinkedIn, from a CSV with PUBLISHED_COLUMNS; returns how many achievements.

    Raises InvalidInput that names the line; then nothing is stored.
    """
    publications = _read_publications(path)
    with engine.begin() as connection:
        known = db.record_publications(connection, publications, f"portfolio published {path.name}")
        if unknown := sorted(set(publications) - known):
            raise InvalidInput(f"there is no achievement {unknown[0]}", field="achievement_id")
    return len(known)


def _read_publications(path: Path) -> dict[int, tuple[str, datetime]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != PUBLISHED_COLUMNS:
                raise InvalidInput(f"its columns are not {','.join(PUBLISHED_COLUMNS)}", field=str(path))
            return dict(_publication(row, f"line {reader.line_num}") for row in reader)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"it cannot be read as CSV in UTF-8: {error}", field=str(path)) from None


def _publication(row: Mapping[str, str], line: str) -> tuple[int, tuple[str, datetime]]:
    key, post, moment = (row[name] or "" for name in PUBLISHED_COLUMNS)
    if not (key.isascii() and key.isdigit() and 0 < int(key[:11]) < 2**31):
        raise InvalidInput(f"{key!r} is not the id of an achievement", field=f"{line}, achievement_id")
    if not 0 < len(post) <= 255 or not post.isprintable():
        raise InvalidInput("1 to 255 printable characters are expected", field=f"{line}, linkedin_post_id")
    try:
        published = datetime.fromisoformat(moment)
    except ValueError:
        published = None
    if published is None or published.tzinfo is None:
        wanted = "not a time with its zone, as 2026-01-02T03:04:05Z"
        raise InvalidInput(f"{moment!r} is {wanted}", field=f"{line}, linkedin_published_at")
    return int(key), (post, published)


# Checking. What a file says of itself proves that nobody changed it; only a checkout proves that the work was done.


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds: its items, and the checks of how it holds them."""

    items: Sequence[Mapping[str, Any]]
    portfolio_sha256: str
    checks: list[Check]


def verify(path: Path, checkout: Path | None) -> list[Check]:
    """The checks of an exported file; the merges are looked up in `checkout`.

    Raises: NotFound without the file or the checkout; InvalidInput for a file that is no portfolio.
    """
    found = _open(path)
    checks = [*found.checks, *manifests.check_items(found.items, found.portfolio_sha256)]
    if checkout is None:
        return [*checks, Check("every merge is in the history", None, "no checkout was given")]
    return [*checks, _check_merges(found.items, checkout), _check_scores(found.items, checkout)]


def _open(path: Path) -> Found:
    try:
        body = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"there is no file {path}") from None
    try:
        return _read(path, body)
    except InvalidInput as error:
        raise InvalidInput(f"{path.name} is not a portfolio that can be checked: {error}") from None


def _read(path: Path, body: bytes) -> Found:
    beside = path.with_name(path.name + SIDECAR)
    if body.startswith(b"PK"):
        return _read_archive(body)
    if body.startswith(b"\xef\xbb\xbf"):
        items, whole = from_csv(body)
        return Found(items, whole, [])
    if body.startswith(b"{"):
        return _from_manifest(_in_resume(manifests.read_json(body)), [manifests.check_seal(body)])
    if beside.is_file():
        return _from_files(beside.read_bytes(), {_exported_name(path, beside): body})
    return _from_manifest(manifests.read_embedded(body), [manifests.check_seal(body)])


def _exported_name(path: Path, beside: Path) -> str:
    """The name that the manifest knows the file by; people may have given it another since."""
    names = list(manifests.as_manifest(manifests.read_json(beside.read_bytes()))["files"])
    return str(names[0]) if len(names) == 1 else path.name


def _in_resume(document: Any) -> dict[str, Any]:
    meta = document.get("meta") if isinstance(document, dict) else None
    return manifests.as_manifest(meta.get("manifest") if isinstance(meta, dict) else None)


def _read_archive(body: bytes) -> Found:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if any(member.file_size > LARGEST_MEMBER for member in archive.infolist()):
                raise InvalidInput("a file in it is too large")
            contents = {member.filename: archive.read(member) for member in archive.infolist()}
    except TORN_ARCHIVE:
        raise InvalidInput("it is not a whole ZIP") from None
    if "manifest.json" not in contents:
        raise InvalidInput("there is no manifest.json in it")
    return _from_files(contents.pop("manifest.json"), contents)


def _from_files(manifest: bytes, contents: Mapping[str, bytes]) -> Found:
    found = manifests.as_manifest(manifests.read_json(manifest))
    return _from_manifest(found, [manifests.check_seal(manifest), manifests.check_files(found, contents)])


def _from_manifest(found: Mapping[str, Any], checks: list[Check]) -> Found:
    return Found(found["items"], str(found.get("portfolio_sha256")), checks)


def _check_merges(items: Sequence[Mapping[str, Any]], checkout: Path) -> Check:
    """A merge of another repository cannot be looked up here; but when none at all is found, nothing is proven."""
    name = "every merge is in the history"
    here = git.repository_name(checkout)
    shas = {item["merge_sha"] for item in items} - {None}
    there = git.reached_by_head(checkout, shas)
    lost = [item for item in items if item["merge_sha"] not in there]
    missing = [item["id"] for item in lost if item["merge_sha"] and item["repository"] == here]
    found = f"{len(there)} of {len(shas)} merges found"
    if missing:
        return Check(name, False, f"{found}; not in the history of HEAD: {', '.join(map(str, missing[:10]))}")
    elsewhere = f", {len(lost)} achievements have none in {here}" if lost else ""
    return Check(name, bool(there) if shas else None, found + elsewhere)


def _check_scores(items: Sequence[Mapping[str, Any]], checkout: Path) -> Check:
    """Scores again, from the checkout, what was read from git by the scorer of this version."""
    name = "the commits give the same scores"
    wanted = {item["merge_sha"]: item for item in items if _can_be_scored(item)}
    wrong, scored = [], 0
    for commit in git.read_commits(checkout) if wanted else ():
        item = wanted.pop(commit.sha, None)
        if item is None:
            continue
        scored += 1
        if not _scores_alike(item, change_from_commit(commit, item["repository"] or "")):
            wrong.append(item["id"])
        if not wanted:
            break
    if wrong:
        return Check(name, False, f"another score: {', '.join(map(str, wrong[:10]))}")
    return Check(name, True if scored else None, f"{scored} of {len(items)} achievements scored again")


def _can_be_scored(item: Mapping[str, Any]) -> bool:
    return bool(item["source_type"] == "git" and item["scorer_version"] == SCORER_VERSION)


def _scores_alike(item: Mapping[str, Any], change: object) -> bool:
    if not isinstance(change, Change):
        return False
    again = score(change)
    return bool(again.impact_score == item["impact_score"] and again.complexity_score == item["complexity_score"])
