"""A portfolio as JSON Resume 1.0.0 (jsonresume.org): an achievement is a project, the manifest lies in `meta`."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import to_json

from threads_agent_dagster.domain.portfolio import Item, Portfolio, headline, number, outcomes
from threads_agent_dagster.domain.portfolio_manifest import manifest, sealed

SCHEMA: Final = "https://raw.githubusercontent.com/jsonresume/resume-schema/v1.0.0/schema.json"


def json_resume(portfolio: Portfolio) -> bytes:
    """The document, sealed."""
    document = {
        "$schema": SCHEMA,
        "basics": _known({"name": portfolio.owner, "summary": f"{headline(portfolio)}."}),
        "projects": [_project(item, section.name) for section in portfolio.sections for item in section.items],
        "skills": _skills(portfolio),
        "meta": {
            "version": "v1.0.0",
            "lastModified": portfolio.made_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        },
    }
    return sealed(b'%b,"manifest":%b}}' % (to_json(document).removesuffix(b"}}"), manifest(portfolio).encode()))


def _project(item: Item, section: str) -> dict[str, Any]:
    return _known(
        {
            "name": item.title,
            "description": item.summary,
            "highlights": [*_figures(item), *(claim.quote for claim in item.claims)],
            "keywords": list(item.skills),
            "startDate": _date(item.started_at),
            "endDate": _date(item.completed_at),
            "url": item.url,
            "entity": item.repository,
            "type": item.category,
            "section": section,
            "impact_score": item.impact_score,
            "complexity_score": item.complexity_score,
            "time_saved_hours": item.time_saved_hours,
            "performance_improvement_pct": item.performance_improvement_pct,
        }
    )


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """The schema knows no nulls: what is not known is left out."""
    return {name: value for name, value in values.items() if value is not None}


def _figures(item: Item) -> list[str]:
    impact = [] if item.impact_score is None else [f"Impact {number(item.impact_score)} of 100"]
    return [*impact, *outcomes(item)]


def _date(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).date().isoformat()


def _skills(portfolio: Portfolio) -> list[dict[str, Any]]:
    """The skill that most achievements show comes first; its keywords are the categories of these."""
    shown: defaultdict[str, list[str]] = defaultdict(list)
    for item in portfolio.items:
        for skill in item.skills:
            shown[skill].append(item.category)
    order = sorted(shown.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [{"name": name, "keywords": sorted(set(categories))} for name, categories in order]
