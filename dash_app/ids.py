"""Ids of the components that callbacks speak of."""

from __future__ import annotations

URL = "url"
CLOCK = "clock"
TICK = "tick"
PULSE = "pulse"
HEALED = "healed"
OUTAGE = "outage"
AWAY = "away"
TITLE = "title"
HEADING = "heading"
CONTROLS = "controls"
BODY = "body"
FILTER = "filter"


def filter_id(name: object) -> dict[str, object]:
    """The id of the control that sets the parameter `name` of the page's address."""
    return {"type": FILTER, "name": name}
