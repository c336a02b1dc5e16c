"""The evidence that goes with an export: what is shown, its rules and merges, hashed, and a seal over the whole file.

Canonical JSON has no spaces, its keys are sorted and what is beyond ASCII is escaped. `content_sha256` is of an item's
canonical JSON, `portfolio_sha256` of the items' hashes in order, one a line. `document_sha256` comes last: the hash of
the file that holds the manifest, taken while these 64 digits are zeros.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from threads_agent_dagster.domain.portfolio import Item, Portfolio, Rule
from threads_agent_dagster.errors import InvalidInput

FORMAT: Final = "threads-agent-portfolio/1"
PRIVACY: Final = "metadata"
START: Final = f'{{"format":"{FORMAT}"'
ZEROS: Final = b"0" * 64
SEAL: Final = re.compile(rb'("document_sha256":\s*")([0-9a-f]{64})"')
CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
ITEM_FIELDS: Final = frozenset(Item.__dataclass_fields__) | {"content_sha256"}
SORTED_FIELDS: Final = tuple(sorted(Item.__dataclass_fields__))

# Where pydantic's encoder, which takes a quarter of the time, writes other JSON than Python's.
_UNESCAPED: Final = re.compile(r"[^\x00-\x7e]")
_EXPONENT: Final = re.compile(r"e(?<=\de)-?\d+[,\]}]")
_RULE: Final = Rule.__annotations__.keys()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def content_sha256(document: Mapping[str, Any]) -> str:
    """Of an item's document, its own hash left out."""
    shown = {name: value for name, value in document.items() if name != "content_sha256"}
    return sha256(CANONICAL.encode(shown).encode())


def portfolio_sha256(hashes: Iterable[str]) -> str:
    return sha256("".join(f"{one}\n" for one in hashes).encode())


@dataclass(frozen=True, slots=True)
class Entry:
    """An item's canonical JSON and its hash."""

    text: str
    content_sha256: str


def entry(document: Mapping[str, Any]) -> Entry:
    """Of an item's document."""
    text = canonical(document)
    return Entry(text, sha256(text.encode()))


def canonical(document: Mapping[str, Any]) -> str:
    """The canonical JSON of an item's document, byte for byte as CANONICAL gives it."""
    shown = {name: document[name] for name in SORTED_FIELDS}
    shown["claims"] = [{name: claim[name] for name in sorted(claim)} for claim in shown["claims"]]
    shown["impact_rules"] = [_ordered(rule) for rule in shown["impact_rules"]]
    shown["complexity_rules"] = [_ordered(rule) for rule in shown["complexity_rules"]]
    try:
        text = to_json(shown).decode()
    except PydanticSerializationError:  # half a surrogate pair
        return CANONICAL.encode(shown)
    if "0.0000" in text or _EXPONENT.search(text):  # numbers that Python writes with another exponent
        return CANONICAL.encode(shown)
    if text.isascii() and "\x7f" not in text:
        return text
    return _UNESCAPED.sub(lambda beyond: encode_basestring_ascii(beyond[0])[1:-1], text)


def _ordered(rule: Rule) -> Mapping[str, object]:
    """A rule with its keys in order; there are sixteen an item, so without sorting them."""
    if rule.keys() != _RULE:
        return dict(sorted(rule.items()))
    return {"input": rule["input"], "name": rule["name"], "points": rule["points"], "weight": rule["weight"]}


def item_documents(portfolio: Portfolio) -> list[dict[str, Any]]:
    """Each item as it is shown, with its hash."""
    documents = [item.to_document() for item in portfolio.items]
    return [document | {"content_sha256": entry(document).content_sha256} for document in documents]


def manifest(portfolio: Portfolio, files: Mapping[str, bytes] | None = None) -> str:
    """The manifest as one line of ASCII, not sealed yet; `files` are those that stand beside it."""
    entries = [entry(item.to_document()) for item in portfolio.items]
    end = {
        "portfolio_sha256": portfolio_sha256(one.content_sha256 for one in entries),
        "files": {name: sha256(body) for name, body in (files or {}).items()},
        "document_sha256": ZEROS.decode(),
    }
    made_at = portfolio.made_at.astimezone(UTC).isoformat()
    items = ",".join(f'{one.text[:-1]},"content_sha256":"{one.content_sha256}"}}' for one in entries)
    start = f'{START},"made_at":"{made_at}","privacy":"{PRIVACY}"'
    return f'{start},"items":[{items}],{json.dumps(end, separators=(",", ":"))[1:]}'


def embedded(portfolio: Portfolio) -> str:
    """The manifest without `<`, `>` and `&`, so that no comment and no element ends in it."""
    return manifest(portfolio).replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def manifest_file(portfolio: Portfolio, files: Mapping[str, bytes]) -> bytes:
    """A manifest that stands beside the files that it is about."""
    return sealed(manifest(portfolio, files).encode())


def sealed(body: bytes) -> bytes:
    """The file with its seal in place of the zeros."""
    start, end = _seal_at(body)
    return body[:start] + sha256(body[:start] + ZEROS + body[end:]).encode() + body[end:]


def _seal_at(body: bytes) -> tuple[int, int]:
    """The manifest is the last thing in a file that could be taken for one, and the seal is last in the manifest."""
    found = list(SEAL.finditer(body))
    if not found:
        raise InvalidInput("there is no seal in it")
    return found[-1].span(2)


# Checking.


@dataclass(frozen=True, slots=True)
class Check:
    """`passed` is None where it could not be checked; `detail` says why, or what is wrong."""

    name: str
    passed: bool | None
    detail: str


def read_embedded(body: bytes) -> dict[str, Any]:
    """The manifest inside a file. Raises InvalidInput when there is none."""
    text = body.decode("latin-1")  # the manifest is ASCII, what surrounds it (a PDF) need not be text
    start = text.rfind(START)
    if start < 0:
        raise InvalidInput("there is no portfolio manifest in it")
    try:
        return as_manifest(json.JSONDecoder().raw_decode(text, start)[0])
    except (ValueError, RecursionError):
        raise InvalidInput("the manifest in it is not whole") from None


def read_json(body: bytes) -> Any:
    """Raises InvalidInput."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput("it is not JSON") from None


def as_manifest(found: Any) -> dict[str, Any]:
    """`found`, if it has the parts of a manifest. Raises InvalidInput that names what is missing."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InvalidInput(f"it has no manifest of the format {FORMAT}")
    if not isinstance(found.get("items"), list) or not isinstance(found.get("files"), dict):
        raise InvalidInput("the manifest lacks its items or its files")
    for nth, item in enumerate(found["items"]):
        if not isinstance(item, dict) or item.keys() != ITEM_FIELDS or not _is_typed(item):
            raise InvalidInput("it does not have the fields of an item", field=f"items.{nth}")
    return found


def _is_typed(item: Mapping[str, Any]) -> bool:
    """Whether what the checks look at is of the type that they expect: a manifest may be anybody's."""
    texts = all(isinstance(item[name], str | None) for name in ("merge_sha", "repository", "scorer_version"))
    return texts and all(isinstance(item[name], list) for name in ("impact_rules", "complexity_rules"))


def check_seal(body: bytes) -> Check:
    """Whether the file is, byte for byte, the one that was exported."""
    start, end = _seal_at(body)
    unchanged = sha256(body[:start] + ZEROS + body[end:]).encode() == body[start:end]
    return Check("the file is unchanged", unchanged, "" if unchanged else "its hash is not the one in its seal")


def check_files(found: Mapping[str, Any], files: Mapping[str, bytes]) -> Check:
    """Whether the files beside the manifest are those that it names."""
    hashes = {name: sha256(body) for name, body in files.items()}
    wrong = sorted(
        name for name in hashes.keys() | found["files"].keys() if hashes.get(name) != found["files"].get(name)
    )
    return _check("the files are unchanged", wrong, "changed, missing or added")


def check_items(items: Sequence[Mapping[str, Any]], whole: str) -> list[Check]:
    """Whether each item is as it was hashed, none was added or taken away, and each score is explained."""
    altered = [item["id"] for item in items if content_sha256(item) != item["content_sha256"]]
    unexplained = [item["id"] for item in items if not (_adds_up(item, "impact") and _adds_up(item, "complexity"))]
    complete = portfolio_sha256(str(item["content_sha256"]) for item in items) == whole
    return [
        _check("every achievement is unchanged", altered, "their hash is another"),
        Check("none was added or taken away", complete, "" if complete else "the hash over all of them is another"),
        _check(
            "every score is the sum of its rules", unexplained, "the points of their rules add up to something else"
        ),
    ]


def _adds_up(item: Mapping[str, Any], kind: str) -> bool:
    score, rules = item[f"{kind}_score"], item[f"{kind}_rules"]
    if score is None:
        return not rules
    try:
        return bool(round(sum(rule["points"] for rule in rules), 2) == score)
    except (TypeError, KeyError):  # points that are no numbers explain nothing
        return False


def _check(name: str, wrong: Sequence[object], why: str) -> Check:
    shown = ", ".join(map(str, wrong[:10])) + (f" and {len(wrong) - 10} more" if len(wrong) > 10 else "")
    return Check(name, not wrong, f"{shown}: {why}" if wrong else "")
