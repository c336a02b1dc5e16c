"""Which hook a post gets, and why."""

from __future__ import annotations

from collections import Counter

import pytest

from threads_agent_dagster.domain.posts import BY_CHANCE, HOOK_STYLES, Choice, compose, tricks
from threads_agent_dagster.errors import InvalidInput

TOPIC = "The suite takes three minutes"
INPUT = "Two files were removed. Nobody misses them."


def _choice(seed: str, uses: dict[str, float] | None = None) -> Choice:
    return compose(TOPIC, INPUT, seed, uses or {}).choice


SCORED = next(str(n) for n in range(100) if _choice(str(n)).by == "strength")


def test_the_strongest_candidate_is_taken_and_all_are_kept() -> None:
    choice = _choice(SCORED)
    assert {one.style for one in choice.candidates} == set(HOOK_STYLES)
    assert choice.taken == max(choice.candidates, key=lambda one: one.score)
    assert sum(one.score for one in choice.candidates) == pytest.approx(0)
    assert {(one.freshness, one.strength == one.score) for one in choice.candidates} == {(1.0, True)}
    assert len({one.score for one in choice.candidates}) == len(HOOK_STYLES)


def test_a_style_that_repeats_gives_way_to_the_next() -> None:
    first = _choice(SCORED).taken
    worn = _choice(SCORED, {f"style: {first.style}": 1e6})
    assert worn.taken.style != first.style
    (same,) = (one for one in worn.candidates if one.style == first.style)
    assert same.score == first.score
    assert same.strength < first.strength


def test_a_pattern_wears_every_style_that_plays_it() -> None:
    assert "question mark" in tricks("Faster: what changed?", "question")
    worn = {one.style: one.freshness for one in _choice(SCORED, {"question mark": 3}).candidates}
    assert worn == {"plain": 1, "question": 0.25, "story": 1}


def test_every_style_comes_by_chance_as_often_as_planned() -> None:
    posts = 3000
    drawn = Counter(choice.taken.style for n in range(posts) if (choice := _choice(str(n))).by == "chance")
    assert sum(drawn.values()) == pytest.approx(posts * BY_CHANCE, rel=0.2)
    assert min(drawn[style] for style in HOOK_STYLES) > posts * BY_CHANCE / 5


def test_the_same_seed_and_past_give_the_same_post() -> None:
    assert compose(TOPIC, INPUT, "7", {"numeral": 1}) == compose(TOPIC, INPUT, "7", {"numeral": 1})


def test_why_can_be_read() -> None:
    stored = _choice(SCORED).as_json()
    assert stored["taken"] in {one["style"] for one in stored["candidates"]}
    assert stored["model"].endswith("quick")
    assert set(stored["candidates"][0]) == {"style", "hook", "score", "freshness", "strength"}


def test_the_topic_s_words_are_kept_in_whatever_hook_is_taken() -> None:
    """The predecessor's failure obs-23: "Love everyone" came out as two emojis without the words."""
    drafts = [compose("Love everyone", None, str(n), {}) for n in range(100)]
    assert all("love everyone" in draft.hook.lower() for draft in drafts)
    hooks = {one.hook.lower() for draft in drafts for one in draft.choice.candidates}
    assert all("love everyone" in hook for hook in hooks)
    assert {draft.choice.taken.style for draft in drafts} == set(HOOK_STYLES)


def test_a_post_without_a_topic_is_refused() -> None:
    with pytest.raises(InvalidInput, match="topic: must not be empty"):
        compose("  ", INPUT, "1", {})
