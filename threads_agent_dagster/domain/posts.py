"""The built-in composer: a post from the facts of its input and nothing else.

It rearranges what it was given, adds no claim, and is deterministic: the same input gives the same post. A language
model takes its place when one is configured.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from threads_agent_dagster.domain.hook_features import patterns
from threads_agent_dagster.domain.hooks import quick_version, rank_quickly
from threads_agent_dagster.domain.segments import sentences
from threads_agent_dagster.errors import InvalidInput

GENERATOR: Final = "composer@3"
HOOK_LIMIT: Final = 120  # characters, so that the hook survives the fold of a feed
BODY_SENTENCES: Final = 6

HOOK_STYLES: Final = {
    "plain": "{topic}",
    "question": "{topic}: what changed?",
    "story": "The story behind it: {topic}",
}


HALVED: Final = 0.05  # log-odds that a hook loses whenever its freshness halves; a definition, not an estimate
BY_CHANCE: Final = 0.1  # share of posts whose style a hash draws, so that no style is ever left unmeasured


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hook that could have been taken.

    `score`: log-odds of a click against the mean of the candidates; `freshness`: of its most used trick, in (0, 1];
    `strength`: the score less what wear takes.
    """

    style: str
    hook: str
    score: float
    freshness: float
    strength: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the candidates was taken, and whether for its strength or by chance."""

    taken: Candidate
    by: str
    model: str
    candidates: tuple[Candidate, ...]

    def as_json(self) -> dict[str, Any]:
        """What is stored with the post, so that “why this hook?” has an answer."""
        candidates = [asdict(one) for one in self.candidates]
        return {"taken": self.taken.style, "by": self.by, "model": self.model, "candidates": candidates}


@dataclass(frozen=True, slots=True)
class Draft:
    """A post before it is stored; `choice` says why it has this hook."""

    body: str
    choice: Choice
    tokens_used: int
    generator: str

    @property
    def hook(self) -> str:
        return self.choice.taken.hook

    @property
    def style(self) -> str:
        """The hook variant."""
        return self.choice.taken.style


def tricks(hook: str, style: str) -> set[str]:
    """What readers get used to: the patterns of a hook, and its style."""
    return {*patterns(hook), f"style: {style}"}


def compose(topic: str, original_input: str | None, seed: str, uses: Mapping[str, float]) -> Draft:
    """The strongest hook on the topic, and the input's own first sentences as the body.

    `uses`: recent uses of each trick in the persona's posts, older ones counting less. `seed` decides which posts take
    their style by chance, and which: the same in every process.

    Raises: InvalidInput for an empty topic.
    """
    if not (topic := " ".join(topic.split())):
        raise InvalidInput("must not be empty", field="topic")
    body = "\n\n".join(sentences(original_input or "")[:BODY_SENTENCES])
    return Draft(body, choose(topic.rstrip("."), body, seed, uses), tokens_used=0, generator=GENERATOR)


def choose(topic: str, body: str, seed: str, uses: Mapping[str, float]) -> Choice:
    """One hook of each style, scored, worn, and one of them taken."""
    hooks = {style: _shortened(form.format(topic=topic), HOOK_LIMIT) for style, form in sorted(HOOK_STYLES.items())}
    scores = rank_quickly(list(hooks.values()), body)
    candidates = tuple(
        _candidate(style, hook, score, uses) for (style, hook), score in zip(hooks.items(), scores, strict=True)
    )
    drawn = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") / 2**64
    if drawn < BY_CHANCE:
        taken, by = candidates[int(drawn / BY_CHANCE * len(candidates))], "chance"
    else:
        taken, by = max(candidates, key=lambda one: one.strength), "strength"
    return Choice(taken, by, quick_version(), candidates)


def _candidate(style: str, hook: str, score: float, uses: Mapping[str, float]) -> Candidate:
    freshness = 1 / (1 + max(uses.get(trick, 0.0) for trick in tricks(hook, style)))
    return Candidate(style, hook, score, freshness, score + HALVED * math.log2(freshness))


def _shortened(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words, with an ellipsis where something is missing."""
    if len(text) <= limit:
        return text
    return text[: limit - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"
