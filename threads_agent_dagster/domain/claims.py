"""The claims that a text makes about money, time and performance: what is said, in the words that say it.

A sentence is cut into quantities; a quantity becomes a claim when the words around it say that it was gained. When in
doubt nothing is claimed: a question, a negation, a limit, a price. docs/achievements.md describes the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from threads_agent_dagster.domain.quantities import SECONDS, Quantity, follows_from, read_quantities

Kind = Literal["money", "time", "percent", "points"]
Period = Literal["once", "day", "week", "month", "quarter", "year", "occasion"]

STATED: Final = 0.9
HEDGED: Final = 0.6
HOPED: Final = 0.3

SENTENCE_LIMIT: Final = 600  # longer than this is a dump of something, not a sentence
TEXT_LIMIT: Final = 20_000
NEAR: Final = 60  # characters between a quantity and the words that give it its meaning


@dataclass(frozen=True, slots=True)
class Claim:
    """`amount` in `unit` ("USD", "hours", "working days", "percent", "percentage points") per `period`.

    "once" is said without a period, "occasion" with one whose number per year is not said ("per deploy").
    `metric` is what a percentage is of. `confidence` is by wording alone: 0.9 stated, 0.6 hedged ("about", "up to",
    "will"), 0.3 hoped for ("could", "expected to").
    """

    kind: Kind
    amount: float
    unit: str
    period: Period
    metric: str | None
    quote: str
    confidence: float


def read_claims(text: str) -> tuple[Claim, ...]:
    """In their order; the same claim said twice is one claim."""
    found = {
        (claim.kind, claim.amount, claim.unit, claim.period, claim.metric): claim
        for sentence in reversed(list(_sentences(text[:TEXT_LIMIT])))
        for claim in reversed(list(_claims(sentence)))
    }
    return tuple(reversed(found.values()))


# --- sentences ---------------------------------------------------------------------------------------------------

# Nobody claims anything in code, in a quotation of others or in the comments of a template.
NOT_PROSE: Final = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|<!--.*?(?:-->|\Z)|^[ \t]*>[^\n]*|https?://\S+", re.DOTALL | re.MULTILINE
)
SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[*_]*[A-Z])|\n\s*\n|\n\s*(?=[-*+#•]\s|\d+[.)]\s|\|)|;\s+")


def _sentences(text: str) -> Iterator[str]:
    prose = NOT_PROSE.sub(" ", text)
    for part in SENTENCE_END.split(prose):
        sentence = " ".join(part.split())
        if 0 < len(sentence) <= SENTENCE_LIMIT and not sentence.endswith("?"):
            yield sentence


# --- the words around a quantity ---------------------------------------------------------------------------------


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


SAVES: Final = _words(
    r"sav(?:e|es|ed|ing|ings)|free(?:s|d|ing)? up|avoid(?:s|ed|ing)?|eliminat(?:e|es|ed|ing)|reclaim(?:s|ed)?"
)
LOWERS: Final = _words(
    r"reduc(?:e|es|ed|ing|tion)|cut(?:s|ting)?|lower(?:s|ed|ing)?|decreas(?:e|es|ed|ing)|shr[iu]nk(?:s|ing)?|drop(?:s|ped)?|"
    r"trim(?:s|med)?|less|fewer|smaller|cheaper|went down"
)
RAISES: Final = _words(r"increas(?:e|es|ed|ing)|rais(?:e|es|ed|ing)|gr[eo]ws?|boost(?:s|ed|ing)?|more|higher|went up")
IMPROVES: Final = _words(
    r"improv(?:e|es|ed|ing|ement)|faster|quicker|sp(?:ee)?d(?:s|ed)?[ -]?up|speedup|better|optimi[sz](?:e|es|ed)"
)
WORSENS: Final = _words(r"slower|worse|degrad(?:e|es|ed|ation)|larger|bigger|regress(?:es|ed|ion)?")
COSTS: Final = _words(r"costs?|bills?|spend(?:ing)?|expenses?|fees?")
EARNS: Final = _words(r"earn(?:s|ed|ing)?|revenue|profits?|sales|income|value|worth|benefits?")
TOIL: Final = _words(r"manual(?:ly)?|work|effort|toil|labou?r")
NEGATES: Final = re.compile(
    r"(?:\b(?:not(?! only)|no|never|without|cannot|nothing|instead of|rather than)\b|n't\b)", re.IGNORECASE
)
HOPES: Final = re.compile(  # "May" is a month
    r"\bmay\b|(?i:\b(?:could|would|should|might|expect(?:s|ed)?|project(?:ed|ion)|potential(?:ly)?|goal|target|"
    r"aim(?:s|ing)?|hope(?:s|fully)?|plan(?:ned)?|if)\b)"
)
HEDGES: Final = re.compile(
    r"\b(?:about|around|roughly|approximately|approx|up to|nearly|almost|estimated?|est|probably|will)\b|~|≈",
    re.IGNORECASE,
)
BOUNDS: Final = re.compile(
    r"\b(?:to|in|after|within|every|last|for|than|at|until|before|past|next|of)\s+(?:the\s+)?$", re.IGNORECASE
)
NOT_GAINED: Final = re.compile(
    r"^\W*(?:limits?|minimum|maximum|threshold|plan|tier|items?|orders?|coupon|discount|gift|placeholder|"
    r"of (?:logs?|history|data|audio|video|recordings?|backups?|retention))\b",
    re.IGNORECASE,
)
SETTINGS: Final = _words(
    r"time-?outs?|ttl|intervals?|limits?|retention|expir(?:y|es|ation)|delays?|thresholds?|polling|quota"
)

LOWER_IS_BETTER: Final = (
    "latency", "response time", "load time", "build time", "startup time", "query time", "run time", "processing time",
    "test time", "memory", "cpu", "bundle size", "image size", "size", "time", "error rate", "cost",
)  # fmt: skip
HIGHER_IS_BETTER: Final = (
    "throughput",
    "speed",
    "performance",
    "coverage",
    "accuracy",
    "conversion",
    "uptime",
    "availability",
)
PERFORMANCE_METRICS: Final = frozenset({*LOWER_IS_BETTER, *HIGHER_IS_BETTER[:3]} - {"error rate", "cost"})
METRIC: Final = _words("|".join(name.replace(" ", "[ -]?") + "s?" for name in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)))


def _letters(name: str) -> str:
    """Of "Load-times" and "load time" the same."""
    return re.sub(r"[ -]", "", name.lower()).removesuffix("s")


SPELLINGS: Final = {_letters(name): name for name in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)}

PERIODS: Final[Mapping[str, Period]] = {
    **dict.fromkeys(("day", "daily", "workday", "working day"), "day"),
    **dict.fromkeys(("week", "weekly", "wk"), "week"),
    **dict.fromkeys(("month", "monthly", "mo"), "month"),
    **dict.fromkeys(("quarter", "quarterly"), "quarter"),
    **dict.fromkeys(("year", "yearly", "yr", "annually", "annual", "annum"), "year"),
}
ADVERB: Final = r"daily|weekly|monthly|quarterly|yearly|annually|annual|p\.a"
PERIOD: Final = re.compile(
    rf"\b(?P<adverb>{ADVERB})\b|(?:\b(?P<per>per|each|every|an?)\s|(?P<slash>/)\s?)(?P<word>working day|\w+)",
    re.IGNORECASE,
)
ADJECTIVE: Final = re.compile(r"\b(daily|weekly|monthly|quarterly|yearly|annual)\b", re.IGNORECASE)
SPAN_OF_TIME: Final = re.compile(
    r"\b(?:over|in|within|during|every|for)\s+(?:the )?(?:first |last |next )?$", re.IGNORECASE
)
OFTEN: Final = re.compile(r"\b(?:twice|thrice|times|every other|bi-?weekly)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Context:
    """A quantity with the words of its sentence before and after it, up to its neighbours."""

    sentence: str
    quantity: Quantity
    before: str
    after: str
    following: Quantity | None

    def near(self, cue: re.Pattern[str]) -> bool:
        """Whether one of the words stands close enough, and nothing negates it."""
        start = max(self.quantity.start - NEAR, 0)
        around = cue.finditer(self.sentence, start, self.quantity.end + NEAR)
        return any(not NEGATES.search(self.sentence, max(word.start() - 25, 0), word.start()) for word in around)

    def confidence(self) -> float:
        if HOPES.search(self.sentence):
            return HOPED
        return HEDGED if self.quantity.is_range or HEDGES.search(self.sentence) else STATED

    def claim(self, kind: Kind, amount: float, unit: str, period: Period = "once", metric: str | None = None) -> Claim:
        return Claim(kind, round(amount, 4), unit, period, metric, self.sentence, self.confidence())


def _period(context: Context) -> Period:
    after = context.after[:NEAR]
    following = context.following
    if OFTEN.search(after) or (following and following.dimension == "duration" and SPAN_OF_TIME.search(after)):
        return "occasion"
    told = [period for match in PERIOD.finditer(after) if (period := _period_of(match)) is not None]
    if not told:
        told = [PERIODS[word.lower()] for word in ADJECTIVE.findall(context.before[-NEAR:])]
    if "occasion" in told:
        return "occasion"
    return told[0] if told else "once"


def _period_of(match: re.Match[str]) -> Period | None:
    word = (match["adverb"] or match["word"]).lower()
    known = "year" if word == "p.a" else PERIODS.get(word)
    if known is None and (match["per"] or "").lower() not in ("a", "an"):
        return "occasion"
    return known


ARROW: Final = re.compile(r"\s?(?:→|->|=>)\s?")
TO: Final = re.compile(r"\s?(?:down |up )?to\s(?:about |around |just |only |under |~)?", re.IGNORECASE)
BARE_AMOUNT: Final = re.compile(  # a list item that is nothing but "$50k annually"
    rf"\W*(?:{ADVERB}|(?:(?:per|an?|each)\s|/)(?:year|month|week|day))\W*", re.IGNORECASE
)
BY: Final = re.compile(r"\bby\s(?:about |around |up to |over |nearly |almost |roughly |~)?$", re.IGNORECASE)
FASTER: Final = re.compile(r"\s?(?:faster|quicker|speed[ -]?up)\b", re.IGNORECASE)
COMPARED: Final = re.compile(
    r"\s?(?:faster|quicker|less|fewer|lower|smaller|cheaper|better|more|higher|reduction|decrease|improvement|"
    r"increase|speed[ -]?up)\b",
    re.IGNORECASE,
)

# --- claims ------------------------------------------------------------------------------------------------------


def _claims(sentence: str) -> Iterator[Claim]:
    quantities = read_quantities(sentence)
    contexts = [_context(sentence, quantities, index) for index in range(len(quantities))]
    changes = {id(after): before for before, after in pairwise(contexts) if _is_change(before, after)}
    used = {id(before) for before in changes.values()}
    for context in contexts:
        if id(context) in changes:
            yield from _change(changes[id(context)], context)
        elif id(context) not in used:
            yield from _gain(context)


def _context(sentence: str, quantities: Sequence[Quantity], index: int) -> Context:
    quantity = quantities[index]
    following = quantities[index + 1] if index + 1 < len(quantities) else None
    before = sentence[quantities[index - 1].end if index else 0 : quantity.start]
    after = sentence[quantity.end : following.start if following else len(sentence)]
    return Context(sentence, quantity, before, after, following)


def _is_change(before: Context, after: Context) -> bool:
    """ "from 60 % to 80 %", "60 % → 80 %"; the first may leave its unit to the second."""
    if before.quantity.dimension not in (after.quantity.dimension, "number"):
        return False
    if ARROW.fullmatch(before.after):
        return True
    return TO.fullmatch(before.after) is not None and follows_from(before.sentence, before.quantity)


def _change(before: Context, after: Context) -> Iterator[Claim]:
    old, new = before.quantity, after.quantity
    start = old.value * (new.factor if old.dimension == "number" else old.factor)
    end = new.value * new.factor
    metric = _metric(before)
    if new.dimension == "percent" and not _is_worse(metric, end - start):
        yield after.claim("points", end - start, "percentage points", metric=metric)
    elif new.dimension in ("duration", "size") and end < start and not SETTINGS.search(after.sentence):
        otherwise = "time" if new.dimension == "duration" else "size"
        yield after.claim("percent", (start - end) / start * 100, "percent", metric=metric or otherwise)
    elif new.dimension == "rate" and end > start > 0:
        yield after.claim("percent", (end - start) / start * 100, "percent", metric="throughput")
    elif new.dimension == "money" and end < start and (after.near(COSTS) or before.near(LOWERS)):
        yield after.claim("money", start - end, new.unit, _period(after))


def _is_worse(metric: str | None, difference: float) -> bool:
    """No change at all is not an improvement either."""
    if metric in LOWER_IS_BETTER:
        return difference >= 0
    return difference <= 0 if metric in HIGHER_IS_BETTER else difference == 0


def _gain(context: Context) -> Iterator[Claim]:
    quantity = context.quantity
    if quantity.value <= 0 or NOT_GAINED.match(context.after):
        return
    if quantity.dimension == "money":
        yield from _money(context)
    elif quantity.dimension == "duration":
        yield from _time(context)
    elif quantity.dimension == "percent":
        yield from _percent(context)
    elif quantity.dimension == "times" and FASTER.match(context.after):
        yield from _times_faster(context)


def _money(context: Context) -> Iterator[Claim]:
    saved = context.near(SAVES) or (context.near(LOWERS) and context.near(COSTS))
    if saved or context.near(EARNS) or BARE_AMOUNT.fullmatch(context.before + context.after):
        yield context.claim("money", context.quantity.value, context.quantity.unit, _period(context))


def _time(context: Context) -> Iterator[Claim]:
    saved = context.near(SAVES) and not BOUNDS.search(context.before)
    less_toil = context.near(LOWERS) and TOIL.search(context.sentence) and BY.search(context.before)
    seconds = context.quantity.factor
    if not (saved or less_toil) or not 60 <= seconds <= SECONDS["day"]:
        return
    if seconds == SECONDS["day"]:
        yield context.claim("time", context.quantity.value, "working days", _period(context))
    else:
        yield context.claim("time", context.quantity.value * seconds / 3600, "hours", _period(context))


def _percent(context: Context) -> Iterator[Claim]:
    if not (BY.search(context.before) or COMPARED.match(context.after)):
        return
    metric = _metric(context) or ("speed" if FASTER.match(context.after) else None)
    if _gets_better(context, metric):
        yield context.claim("percent", context.quantity.value, "percent", metric=metric)


def _gets_better(context: Context, metric: str | None) -> bool:
    if context.near(WORSENS):
        return False
    if context.near(IMPROVES):
        return True
    return context.near(RAISES) if metric in HIGHER_IS_BETTER else metric is not None and context.near(LOWERS)


def _times_faster(context: Context) -> Iterator[Claim]:
    """N times as fast takes 1/N of the time."""
    if context.quantity.value > 1:
        saved = (1 - 1 / context.quantity.value) * 100
        yield context.claim("percent", saved, "percent", metric=_metric(context) or "time")


def _metric(context: Context) -> str | None:
    """The last one named before the quantity, else the first one after it."""
    earlier = METRIC.findall(context.sentence[: context.quantity.start])
    later = METRIC.findall(context.sentence[context.quantity.end :])
    named = earlier[-1:] or later[:1]
    return SPELLINGS[_letters(named[0])] if named else None
