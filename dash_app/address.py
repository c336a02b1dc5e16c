"""The parameters of a page's address: what makes a link reopen the same view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

EVERYONE = "everyone"  # as `who`: achievements of all people, not only mine


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters after the `?`; an absent one reads as the empty text."""

    values: Mapping[str, str]

    @classmethod
    def parse(cls, search: str | None) -> Query:
        """Without NUL characters, which PostgreSQL's text cannot hold."""
        return cls({name: value.replace("\0", "") for name, value in parse_qsl((search or "").removeprefix("?"))})

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    @property
    def everyone(self) -> bool:
        return self["who"] == EVERYONE

    @property
    def page(self) -> int:
        """The 1-based page number; anything that is not one reads as the first page."""
        return max(1, int(self["page"])) if self["page"].isascii() and self["page"][:9].isdigit() else 1

    def link(self, **changes: str | int | None) -> str:
        """The same address with some parameters changed; None and the empty text remove one."""
        merged = {name: str(value) for name, value in {**self.values, **changes}.items() if value not in (None, "")}
        return f"?{urlencode(merged)}" if merged else "?"
