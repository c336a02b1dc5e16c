from __future__ import annotations

import pytest

from threads_agent_dagster.domain.emotions import load_scorer
from threads_agent_dagster.domain.negations import with_plain_negations, without_unmet


@pytest.mark.parametrize(
    ("text", "felt"),
    [
        ("I thought I'd love it, but it broke twice.", "it broke twice."),
        ("I thought I’d love it… but no", "no"),
        ("We sure thought it would help. But it made things worse! Sorry.", "it made things worse! Sorry."),
        ("Day two. I was hoping for a miracle but nothing works", "Day two. nothing works"),
        ("I should be happy but I'm not.", "I'm not."),
        ("It was supposed to be fun, only to end in tears.", "end in tears."),
        ("I used to hate beans but now I eat a can a day", "now I eat a can a day"),
        ("I thought I'd love it, but", ""),
    ],
)
def test_an_expectation_that_is_taken_back_is_left_out(text: str, felt: str) -> None:
    assert " ".join(without_unmet(text).split()) == felt


@pytest.mark.parametrize(
    "text",
    [
        "I thought it was great, but long",  # a judgement, not an expectation
        "I thought I'd love it. I do!",
        "I just wanted to say thank you, but also well done",
        "I love it, but it is expensive",
        "We expected nothing but the best",
        "Butter should be soft",
    ],
)
def test_what_is_felt_stays(text: str) -> None:
    assert without_unmet(text) == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("I am no longer happy", "I am not happy"),
        ("We rarely enjoy it", "We not enjoy it"),
        ("I'm far from proud", "I'm not proud"),
        ("Nobody is happy", "Nobody is not happy"),
        ("There is no joy, a lack of trust", "There is not joy, not trust"),
        ("I couldn't be happier", "I really be happier"),
        ("I have never felt so good", "I have really felt so good"),
        ("can’t thank you enough", "really thank you enough"),
        ("Not only fast", "only fast"),
    ],
)
def test_what_denies_in_rarer_words_denies_by_not(text: str, plain: str) -> None:
    assert with_plain_negations(text) == plain


@pytest.mark.parametrize(
    "text", ["No problem at all", "I can barely contain my joy", "far from home", "I can't be happy"]
)
def test_what_denies_nothing_or_plainly_stays(text: str) -> None:
    assert with_plain_negations(text) == text


@pytest.mark.parametrize("name", ["accurate", "fast"])
@pytest.mark.parametrize(
    ("denied", "raised"),
    [("I am hardly happy.", "I couldn't be happier!"), ("I'm no longer happy.", "I have never been happier.")],
)
def test_a_denied_joy_is_less_than_a_raised_one(name: str, denied: str, raised: str) -> None:
    joy = load_scorer(name).score([denied, raised]).emotions[:, 0]
    assert joy[0] < 0.2 < joy[1]


@pytest.mark.parametrize("name", ["accurate", "fast"])
def test_people_who_thought_they_would_love_it_do_not(name: str) -> None:
    texts = ["I thought I'd love it, but it broke twice.", "I thought I'd hate it, but it works beautifully."]
    scores = load_scorer(name).score(texts)
    joy, sadness = scores.emotions[:, 0], scores.emotions[:, 3]
    assert joy[0] < 0.1 < sadness[0]
    assert scores.sentiment[0, -1] < 0 < scores.sentiment[1, -1]
