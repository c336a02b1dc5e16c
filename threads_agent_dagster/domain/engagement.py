"""What engagement means: interactions per impression."""

from __future__ import annotations


def engagement_rate(impressions: int, engagements: int) -> float | None:
    """Engagements per impression; None when nobody saw it. Above 1 is possible: one reader may interact twice."""
    return engagements / impressions if impressions else None
