"""The built-in composer: a post from the facts of its input and nothing else.

It rearranges what it was given, adds no claim, and is deterministic: the same input gives the same post. A language
model takes its place when one is configured.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from threads_agent_dagster.domain.segments import sentences
from threads_agent_dagster.errors import InvalidInput

GENERATOR: Final = "composer@1"
HOOK_LIMIT: Final = 120  # characters, so that the hook survives the fold of a feed
BODY_SENTENCES: Final = 6

HOOK_STYLES: Final = {
    "plain": "{topic}",
    "question": "{topic}: what changed?",
    "story": "The story behind it: {topic}",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A post before it is stored; `style` names the hook variant."""

    hook: str
    body: str
    style: str
    tokens_used: int
    generator: str


def hook_style(seed: str) -> str:
    """One of HOOK_STYLES, spread evenly over seeds and the same in every process."""
    styles = sorted(HOOK_STYLES)
    return styles[int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % len(styles)]


def compose(topic: str, original_input: str | None, style: str) -> Draft:
    """A hook on the topic in the given style, and the input's own first sentences as the body.

    Raises: InvalidInput for an empty topic or an unknown style.
    """
    if not (topic := " ".join(topic.split())):
        raise InvalidInput("must not be empty", field="topic")
    if style not in HOOK_STYLES:
        raise InvalidInput(f"unknown style; there are {', '.join(sorted(HOOK_STYLES))}", field="style")
    hook = _shortened(HOOK_STYLES[style].format(topic=topic.rstrip(".")), HOOK_LIMIT)
    body = "\n\n".join(sentences(original_input or "")[:BODY_SENTENCES])
    return Draft(hook, body, style, tokens_used=0, generator=GENERATOR)


def _shortened(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words, with an ellipsis where something is missing."""
    if len(text) <= limit:
        return text
    return text[: limit - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"
