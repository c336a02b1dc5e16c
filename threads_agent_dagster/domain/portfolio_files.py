"""A portfolio as a file in each of its formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from threads_agent_dagster.domain import portfolio_manifest as manifests
from threads_agent_dagster.domain.portfolio import Portfolio
from threads_agent_dagster.domain.portfolio_csv import to_csv
from threads_agent_dagster.domain.portfolio_html import html, web
from threads_agent_dagster.domain.portfolio_markdown import linkedin, markdown
from threads_agent_dagster.domain.portfolio_resume import json_resume

Format = Literal["md", "html", "pdf", "json-resume", "csv", "linkedin", "web"]


@dataclass(frozen=True, slots=True)
class Export:
    """A file; `manifest` is the one to put beside it where the file itself cannot hold one."""

    name: str
    media_type: str
    body: bytes
    manifest: bytes | None = None


def _pdf(portfolio: Portfolio) -> bytes:
    from threads_agent_dagster.domain.portfolio_pdf import pdf

    return pdf(portfolio)


_WRITERS: Final[Mapping[Format, tuple[str, str, Callable[[Portfolio], bytes]]]] = {
    "md": ("portfolio.md", "text/markdown; charset=utf-8", markdown),
    "html": ("portfolio.html", "text/html; charset=utf-8", html),
    "pdf": ("portfolio.pdf", "application/pdf", _pdf),
    "json-resume": ("resume.json", "application/json", json_resume),
    "csv": ("portfolio.csv", "text/csv; charset=utf-8", to_csv),
    "linkedin": ("linkedin.txt", "text/plain; charset=utf-8", linkedin),
    "web": ("portfolio.zip", "application/zip", web),
}


def write(form: Format, portfolio: Portfolio) -> Export:
    """The file, with its evidence in it or beside it."""
    name, media_type, writer = _WRITERS[form]
    body = writer(portfolio)
    beside = manifests.manifest_file(portfolio, {name: body}) if form == "linkedin" else None
    return Export(name, media_type, body, beside)
