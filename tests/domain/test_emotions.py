from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threads_agent_dagster.domain.emotions import (
    EMOTIONS,
    POLARITIES,
    Emotion,
    Scores,
    Trajectory,
    load_scorer,
    shape,
    trajectories,
)
from threads_agent_dagster.domain.english import is_english
from threads_agent_dagster.domain.scorers import Polarity
from threads_agent_dagster.domain.segments import MAX_PARAGRAPHS, MAX_SEGMENTS, segments, sentences
from threads_agent_dagster.domain.social_text import in_plain_words
from threads_agent_dagster.errors import InvalidInput

GOEMOTIONS = Path(__file__).parents[3] / "shared" / "data" / "goemotions"
GOLDEN_LINES = Path(__file__).with_name("golden_arcs.tsv").read_text(encoding="utf-8").splitlines()
GOLDEN = [line.split("\t") for line in GOLDEN_LINES]
ARCS = [text.replace("\\n", "\n") for expected, _, text in GOLDEN if expected != "insufficient"]
NAMES = ("accurate", "fast", "vader")
NEUTRAL = "At the office today"


def arc(text: str, scorer: str = "accurate") -> Trajectory:
    return trajectories([text], load_scorer(scorer))[0]


def compounds(found: Trajectory) -> list[float]:
    return [segment.sentiment["compound"] for segment in found.segments if segment.sentiment]


# Segments


def test_numbers_do_not_end_sentences() -> None:
    """The predecessor's failure obs-25."""
    text = "Version 2.5 is great. We saved $1.5M. Wow! Really?"
    assert sentences(text) == ["Version 2.5 is great.", "We saved $1.5M.", "Wow!", "Really?"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("I met Dr. Smith at 5 p.m. in the U.S. office. He was late.", 2),
        ("it was... ok. then i left", 2),
        ("So it ended... Now what?", 2),
        ('"Stop!" she said. Nobody moved.', 3),
        ("one line\nanother line", 2),
        ("No. Never. Not with me.", 3),
        ("It hit No. 1 today. I cried.", 2),
        ("今日は嬉しい。昨日は悲しかった。", 2),
        ("Great day! :) Tomorrow too. 😊 Bye", 3),
        ("bad mood. :'(", 1),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_faces_behind_a_sentence_are_its_own_and_those_of_a_line_open_it() -> None:
    assert sentences("Great day! :) Bad night. 😭😭 Bye") == ["Great day! :)", "Bad night. 😭😭", "Bye"]
    assert sentences("One.\n🔥 Two.\n🔥 Three") == ["One.", "🔥 Two.", "🔥 Three"]


def test_paragraphs_are_the_segments_of_a_text_that_has_them() -> None:
    assert segments("A one. A two.\n\nB one.\n \nC one. C two.") == ["A one. A two.", "B one.", "C one. C two."]


def test_lines_are_sentences_where_there_are_no_paragraphs() -> None:
    assert segments("what a day\nit rained\r\n\nbut we won") == ["what a day", "it rained", "but we won"]


def test_a_wrapped_line_goes_on() -> None:
    wrapped = "The daemon is a singleton, because two of them launch every run\ntwice. It waits.\nSo does\nthe next."
    assert sentences(wrapped) == [
        "The daemon is a singleton, because two of them launch every run twice.",
        "It waits.",
        "So does",
        "the next.",
    ]


def test_repeated_paragraphs_count_once() -> None:
    assert segments("One. Two.\n\nOne.  Two.\n\nThree.") == ["One.", "Two.", "Three."]


def test_many_sentences_are_grouped_evenly() -> None:
    found = segments(" ".join(f"Sentence {number:03d} stands here." for number in range(100)))
    assert len(found) == MAX_SEGMENTS
    assert max(map(len, found)) < 1.2 * min(map(len, found))


@given(st.lists(st.text(min_size=1), max_size=30).map("\n\n".join))
def test_segments_are_few_and_never_empty(text: str) -> None:
    found = segments(text)
    assert len(found) <= MAX_PARAGRAPHS
    assert all(part.strip() for part in found)


# Languages and plain words


@pytest.mark.parametrize(
    "text",
    [
        "Je suis vraiment content aujourd'hui.",
        "Ich bin heute sehr glücklich.",
        "Hoy es un día muy feliz para mí.",
        "Não acredito que isso aconteceu.",
        "Sono molto triste oggi.",
        "Ik ben zo blij vandaag.",
        "Bugün çok mutluyum.",
        "Saya sangat senang hari ini.",
        "今日はとても嬉しいです。",
        "Сегодня я очень счастлив.",
        "أنا سعيد جدا اليوم",
        "आज मैं बहुत खुश हूँ",
    ],
)
def test_other_languages_are_not_scored(text: str) -> None:
    scores = load_scorer("fast").score([text])
    assert not scores.supported[0]
    assert np.isnan(scores.emotions).all()
    assert np.isnan(scores.sentiment).all()


@pytest.mark.parametrize(
    "text",
    [
        "Youth unemployment is above 20 per cent",
        "I love this café!",
        "LOL",
        "😊😊",
        "Viva la vida",
        "@someone yes!!",
        "Le Creuset is great",
    ],
)
def test_english_with_foreign_words_is_english(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (
            "@anna Sooo happy 😊 :) #BestDayEver https://x.co/1 &lt;3",
            "someone Soo happy smile smile Best Day Ever love",
        ),
        ("#cantwait #ihatemondays #disgusted #COVID19", "can't wait i hate mondays disgusted COVID 19"),
        ("#flabbergasted #sickening", "flabbergasted sickening"),  # no words are found in what is one
        ("u r gr8, thx! Im so glad u didnt", "you are great, thanks! I'm so glad you didn't"),
        ("r/news and u/me", "r/news and u/me"),
        ("Oh no.\\nNot again", "Oh no. Not again"),  # a line break as some exports write it
        ("👏🏽 🤷🏾‍♀️ ❤️ 🥳", "well done confused love so excited"),  # without skin, sex and variation
    ],
)
def test_posts_are_written_out_in_plain_words(text: str, plain: str) -> None:
    assert in_plain_words(text) == plain


# Scores


@pytest.mark.parametrize("name", ["accurate", "fast"])
def test_negated_joy_is_not_joy(name: str) -> None:
    """The predecessor's failure obs-15."""
    scores = load_scorer(name).score(["I am not happy about this", "I am happy about this"])
    joy = scores.emotions[:, EMOTIONS.index("joy")]
    assert joy[0] < 0.5 < joy[1]
    assert arc("I am not happy about this", name).dominant != "joy"
    assert scores.sentiment[0, -1] < 0 < scores.sentiment[1, -1]


@pytest.mark.parametrize("name", ["accurate", "fast"])
def test_rising_anger_is_a_falling_arc(name: str) -> None:
    """The predecessor's failure obs-16."""
    found = arc("It is fine. I am angry. I am furious and outraged!", name)
    anger = [segment.emotions["anger"] for segment in found.segments]
    assert found.trajectory_type == "falling"
    assert anger[0] < min(anger[1:])
    assert found.dominant == "anger"


@pytest.mark.parametrize("name", ["accurate", "fast"])
@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("I am so happy, best day of my life!", "joy"),
        ("This makes me furious, I am so angry!", "anger"),
        ("I am terrified, something is in the house", "fear"),
        ("My grandmother died and I cannot stop crying", "sadness"),
        ("Wow, I did not expect that, what a surprise!", "surprise"),
        ("That is disgusting, gross, revolting", "disgust"),
        ("I can't wait for tomorrow, I hope it will be good", "anticipation"),
        ("I admire how honest and reliable she is", "trust"),
    ],
)
def test_plain_cases_have_their_emotion_among_the_two_strongest(name: str, text: str, emotion: str) -> None:
    scores = load_scorer(name).score([text]).emotions[0]
    assert emotion in [EMOTIONS[column] for column in np.argsort(scores)[-2:]]


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("I loathe it", "disgust"),
        ("He is fuming", "anger"),
        ("A gloomy evening", "sadness"),
        ("Pure horror", "fear"),
        ("Such a cheerful dog", "joy"),
        ("What a loyal man", "trust"),
    ],
)
def test_words_that_its_labels_hardly_have_are_known_to_the_fast_scorer(text: str, emotion: Emotion) -> None:
    scores = load_scorer("fast").score([NEUTRAL, text]).emotions[:, EMOTIONS.index(emotion)]
    assert scores[1] > 2 * scores[0]


# What people put behind a sentence that says nothing, and the emotion that it then has more of.
TAGS = {
    "joy": "#blessed #happy #sohappy #bestdayever 😂 😍 🥳 🎉 😊",
    "anger": "#furious #pissedoff #rage #annoyed 😡 🤬 🙄",
    "fear": "#scared #terrified #nervous #panicattack 😱 😨 😰",
    "sadness": "#sosad #heartbroken #lonely #depressed 😭 😢 💔",
    "surprise": "#shocked #unexpected #omg 😲 🤯 😮",
    "disgust": "#disgusted #gross #vile 🤢 🤮 💩",
    "anticipation": "#cantwait #excited #hopeful #soexcited 🤞 ⏳",
    "trust": "#thankful #grateful #respect #blessed 🙏 👏 👍 🤝 🤗",
}


@pytest.mark.parametrize("name", ["accurate", "fast"])
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_hashtags_and_emoji_carry_their_emotion(name: str, emotion: Emotion) -> None:
    tags = TAGS[emotion].split()
    plain, *tagged = load_scorer(name).score([NEUTRAL, *(f"{NEUTRAL} {tag}" for tag in tags)]).emotions
    column = EMOTIONS.index(emotion)
    for tag, chances in zip(tags, tagged, strict=True):
        more = np.log(chances / (1 - chances)) - np.log(plain / (1 - plain))
        assert more[column] > 0.2, tag
        assert column in np.argsort(more)[-3:], tag


@pytest.mark.parametrize("name", ["accurate", "fast"])
def test_what_is_not_felt_carries_no_emotion(name: str) -> None:
    plain, *tagged = (
        load_scorer(name).score([NEUTRAL, *(f"{NEUTRAL} {tag}" for tag in ("🚗", "☕", "#office"))]).emotions
    )
    for chances in tagged:
        assert np.abs(chances - plain).max() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_scores_lie_within_their_units(name: str) -> None:
    texts = [*ARCS, "", " ", "\ud800", "!!!", "a" * 5000, "😡" * 50, "\x00"]
    scores = load_scorer(name).score(texts)
    measured = scores.emotions[~np.isnan(scores.emotions)]
    assert ((measured >= 0) & (measured <= 1)).all()
    sentiment = scores.sentiment[scores.supported]
    assert ((sentiment[:, :3] >= 0) & (sentiment[:, :3] <= 1)).all()
    assert (np.abs(sentiment[:, 3]) <= 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_text_is_not_measured(name: str) -> None:
    scores = load_scorer(name).score(["", " \n"])
    assert not scores.supported.any()
    assert np.isnan(scores.sentiment).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_texts_give_no_scores(name: str) -> None:
    assert load_scorer(name).score([]).sentiment.shape == (0, len(POLARITIES))
    assert trajectories([], load_scorer(name)) == []


def test_polarity_is_what_vader_says() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    texts = [*ARCS, "", "  a  b :) ", "kind of GREAT!!!", "I ❤️ it", "not bad, but 😡"]
    said = [SentimentIntensityAnalyzer().polarity_scores(text) for text in texts[-8:]]
    expected = [[one["pos"], one["neg"], one["neu"], one["compound"]] for one in said]
    assert Polarity()(texts[-8:]).tolist() == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_its_neighbours(name: str) -> None:
    scorer = load_scorer(name)
    together = scorer.score(ARCS[:5])
    for row, text in enumerate(ARCS[:5]):
        alone = scorer.score([text])
        np.testing.assert_allclose(alone.emotions[0], together.emotions[row], rtol=1e-9)
        np.testing.assert_allclose(alone.sentiment[0], together.sentiment[row], rtol=1e-9)


def test_an_unknown_scorer_is_named_in_the_error() -> None:
    with pytest.raises(InvalidInput, match="nrc"):
        load_scorer("nrc")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("I thought I'd hate it, but it is lovely", "I thought I'd love it, but it is awful"),
        ("I love it 😍", "I love it 💔😭"),
        ("What a day #blessed #happy", "What a day #fail #sad"),
        ("This is not bad at all", "This is not good at all"),
        ("@anna soooo happyyyy", "@anna soooo saaaad"),
    ],
)
@pytest.mark.parametrize("name", ["accurate", "fast"])
def test_the_turns_of_posts_are_read(name: str, better: str, worse: str) -> None:
    good, bad = load_scorer(name).score([better, worse]).sentiment[:, -1]
    assert good > bad


def test_scores_are_the_same_in_another_process() -> None:
    program = (
        "from threads_agent_dagster.domain.emotions import *\n"
        f"print(trajectories([{ARCS[0]!r}], load_scorer('accurate')))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == str(trajectories([ARCS[0]], load_scorer("accurate")))


# Arcs


@pytest.mark.parametrize(
    ("expected", "reason", "text"), GOLDEN, ids=[f"{i}-{line[0]}" for i, line in enumerate(GOLDEN)]
)
def test_golden_arcs(expected: str, reason: str, text: str) -> None:
    found = arc(text.replace("\\n", "\n"))
    assert found.trajectory_type == expected, (reason, [round(value, 2) for value in compounds(found)])


def test_a_shape_or_a_reason() -> None:
    for found in trajectories([text for _, _, text in GOLDEN], load_scorer("fast")):
        assert (found.trajectory_type == "insufficient") == (found.reason is not None)
        assert (found.confidence is None) == (found.reason is not None)


@pytest.mark.parametrize("name", NAMES)
def test_averages_equal_their_segments(name: str) -> None:
    for found in trajectories(ARCS, load_scorer(name)):
        parts = [segment.sentiment for segment in found.segments if segment.sentiment]
        assert found.sentiment == pytest.approx({key: np.mean([part[key] for part in parts]) for key in POLARITIES})
        felt = [segment.emotions for segment in found.segments if segment.emotions]
        expected = {key: np.mean([part[key] for part in felt]) for key in EMOTIONS} if felt else None
        assert found.emotions == (pytest.approx(expected) if expected else None)


def test_stored_would_equal_computed() -> None:
    """The predecessor's failure obs-17, the part that needs no database."""
    found = arc(GOLDEN[9][2])
    values = compounds(found)
    assert found.variance == pytest.approx(np.var(values))
    assert len(found.transitions) == len(found.segments) - 1
    assert all(values[i] > max(values[i - 1], values[i + 1]) for i in found.peaks)
    assert all(values[i] < min(values[i - 1], values[i + 1]) for i in found.valleys)
    assert found.peaks == (2,)
    assert found.valleys == (1,)


def test_transitions_link_neighbours() -> None:
    found = arc(ARCS[0])
    for before, after, link in zip(found.segments, found.segments[1:], found.transitions, strict=False):
        assert (link.from_index, link.to_index) == (before.index, after.index)
        assert (link.from_emotion, link.to_emotion) == (before.dominant, after.dominant)
        assert (link.type == "shift") == (before.dominant != after.dominant)


def test_a_paragraph_in_another_language_is_left_out() -> None:
    text = "I love it here.\n\nAujourd'hui je suis très content avec vous.\n\nIt is fine.\n\nI am so sad and I hate it."
    found = arc(text)
    assert found.trajectory_type == "falling"
    assert found.segments[1].sentiment is None
    assert [(link.from_index, link.to_index) for link in found.transitions] == [(0, 2), (2, 3)]


# Metamorphic


@pytest.mark.parametrize("name", NAMES)
def test_trailing_space_changes_nothing(name: str) -> None:
    scorer = load_scorer(name)
    assert trajectories([text + "  \n \n" for text in ARCS], scorer) == trajectories(ARCS, scorer)


@pytest.mark.parametrize("name", NAMES)
def test_saying_each_sentence_twice_changes_nothing(name: str) -> None:
    scorer = load_scorer(name)
    plain = [text for text in ARCS if "\n" not in text and text[-1] in ".!?"]
    doubled = [" ".join(f"{part} {part}" for part in sentences(text)) for text in plain]
    assert trajectories(doubled, scorer) == trajectories(plain, scorer)


@pytest.mark.parametrize("name", NAMES)
def test_reversing_the_segments_swaps_rising_and_falling(name: str) -> None:
    scorer = load_scorer(name)
    swapped = {"rising": "falling", "falling": "rising"}
    texts = ["\n\n".join(segments(text)) for text in ARCS]
    backwards = ["\n\n".join(reversed(segments(text))) for text in ARCS]
    for ahead, back in zip(trajectories(texts, scorer), trajectories(backwards, scorer), strict=True):
        assert back.trajectory_type == swapped.get(ahead.trajectory_type, ahead.trajectory_type)


def test_more_of_the_same_feeling_does_not_lower_the_score() -> None:
    mild, strong = load_scorer("accurate").score(["I am happy.", "I am so incredibly happy!"]).sentiment[:, -1]
    assert strong > mild


# The trajectory rule


class Fixed:
    """Gives the compounds and joys it is told, in order."""

    version = "fixed@1"

    def __init__(self, compound: Sequence[float], joy: Sequence[float]) -> None:
        self.compound, self.joy = compound, joy

    def score(self, texts: Sequence[str]) -> Scores:
        emotions, sentiment = np.zeros((len(texts), len(EMOTIONS))), np.zeros((len(texts), len(POLARITIES)))
        emotions[:, 0], sentiment[:, -1] = self.joy, self.compound
        return Scores(emotions, sentiment, np.ones(len(texts), dtype=bool))


@pytest.mark.parametrize(
    ("compound", "joy", "expected"),
    [
        ([-0.5, 0, 0.5], [0, 0, 0], "rising"),
        ([0.5, 0, -0.5], [0, 0.5, 1], "falling"),  # valence goes before arousal
        ([0.7, -0.7, 0.7, -0.7], [0, 0.3, 0.6, 0.9], "volatile"),  # swings go before arousal
        ([0, 0, 0], [0, 0.5, 1], "rising"),  # arousal decides where valence is flat
        ([-0.6, 0.6, -0.5, 0.6, -0.1, 0.9], [0] * 6, "volatile"),  # it climbs, but what one notices are the swings
        ([0.1, 0, 0.1], [0.1, 0, 0.1], "stable"),
    ],
)
def test_precedence(compound: list[float], joy: list[float], expected: str) -> None:
    text = "\n\n".join(f"Part {number}" for number in range(len(compound)))
    assert trajectories([text], Fixed(compound, joy))[0].trajectory_type == expected


def test_confidence_is_higher_far_from_the_border() -> None:
    text = "One\n\nTwo\n\nThree"
    clear = trajectories([text], Fixed([-0.9, 0, 0.9], [0, 0, 0]))[0].confidence
    close = trajectories([text], Fixed([-0.26, 0, 0.26], [0, 0, 0]))[0].confidence
    assert clear is not None
    assert close is not None
    assert close < clear <= 1


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=12))
def test_shapes_mirror(values: list[float]) -> None:
    ahead, calm = np.array(values), np.zeros(len(values))
    mirrored = {0: 1, 1: 0}
    code = int(shape(ahead, calm))
    assert int(shape(ahead[::-1], calm)) == mirrored.get(code, code)


# Agreement with people


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "texts", "least"), [("fast", 5427, 0.895), ("accurate", 300, 0.88)])
def test_goemotions(name: str, texts: int, least: float) -> None:
    if not GOEMOTIONS.exists():
        pytest.skip(f"GoEmotions is not at {GOEMOTIONS.parent.name}/{GOEMOTIONS.name}")
    from threads_agent_dagster.training.emotions import calibration_error, members, read_split, targets

    test = read_split(GOEMOTIONS, "test")
    wanted = targets(test, members(GOEMOTIONS))[:texts, : len(EMOTIONS)]
    chances = np.nan_to_num(load_scorer(name).score(test.texts[:texts]).emotions)
    areas = [area(chances[:, column], wanted[:, column]) for column in range(len(EMOTIONS))]
    assert np.mean(areas) >= least
    if texts > 5000:  # fewer texts make the error of calibration mostly chance
        errors = [calibration_error(chances[:, column], wanted[:, column]) for column in range(len(EMOTIONS))]
        assert max(errors) <= 0.05


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("rewriting", "loss"),
    [("short spellings", 0.005), ("line breaks as \\n", 0.005), ("mentions", 0.005), ("a #lowercasehashtag", 0.02)],
)
def test_goemotions_written_as_posts_are_read_like_goemotions(rewriting: str, loss: float) -> None:
    """What a hashtag takes away besides is its punctuation: a question without its mark is no longer one."""
    if not GOEMOTIONS.exists():
        pytest.skip(f"GoEmotions is not at {GOEMOTIONS.parent.name}/{GOEMOTIONS.name}")
    from threads_agent_dagster.training.emotions import members, read_split, targets
    from threads_agent_dagster.training.rewritten import REWRITINGS

    test = read_split(GOEMOTIONS, "test")
    wanted, scorer = targets(test, members(GOEMOTIONS)), load_scorer("fast")

    def mean_area(texts: list[str]) -> float:
        chances = np.nan_to_num(scorer.score(texts).emotions)
        return float(np.mean([area(chances[:, column], wanted[:, column]) for column in range(len(EMOTIONS))]))

    rewritten = [REWRITINGS[rewriting](text) for text in test.texts]
    assert rewritten != test.texts
    assert mean_area(rewritten) >= mean_area(test.texts) - loss


def area(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Area under the ROC curve: how often a text with the label scores above one without."""
    above, below = scores[wanted], scores[~wanted]
    return float(np.mean([(value > below).mean() + (value == below).mean() / 2 for value in above]))


def test_trajectories_turn_into_plain_data() -> None:
    assert list(itertools.islice(asdict(arc(ARCS[0])), 2)) == ["trajectory_type", "reason"]
