"""What data.py returns: one frozen class per thing that a page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, TypeVar

from threads_agent_dagster.db.identities import Me

PER_PAGE = 25

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a number comes from; None is what its row does not record."""

    asset: str
    run_id: str | None
    made_at: datetime | None
    code_version: str | None
    scorer_version: str | None = None


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """One page of what matches, and how many match in all."""

    items: Sequence[Item]
    total: int
    page: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PER_PAGE))


@dataclass(frozen=True, slots=True)
class Figures:
    """The view dashboard_metrics: 30-day totals, None where nothing was measured."""

    today: date
    achievements: int
    average_impact: float | None
    hours_saved: float | None
    categories: int
    posts: int
    arcs: int
    engagement_rate: float | None
    impressions: int
    successes: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class DayTotal:
    """One day of one metric: how many, and the sum of what they measured."""

    day: date
    n: int
    total: float


@dataclass(frozen=True, slots=True)
class QueueLine:
    """How much of one asset is not done yet."""

    asset: str
    waiting: int
    working: int
    dead: int
    oldest_day: date


@dataclass(frozen=True, slots=True)
class DeadItem:
    """Something that was given up, with the reason."""

    asset: str
    key: str
    error: str | None
    dead_at: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """`figures` is None while dashboard_metrics was never refreshed; `me` is empty while nobody said who I am."""

    figures: Figures | None
    daily: Mapping[str, Sequence[DayTotal]]
    categories: Sequence[tuple[str, int]]
    queue: Sequence[QueueLine]
    dead: Sequence[DeadItem]
    me: Me


@dataclass(frozen=True, slots=True)
class ListedAchievement:
    """One row of the table and of the export."""

    id: int
    title: str
    category: str
    impact_score: float | None
    complexity_score: float | None
    completed_at: datetime | None
    source_type: str
    repository: str | None
    author: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the sum that a score is: `points` of at most `weight` for `input`."""

    name: str
    input: str | float | None
    weight: float
    points: float


@dataclass(frozen=True, slots=True)
class SetAside:
    """One field as somebody had set it."""

    field: str
    value: str | int | None
    edited_by: str | None


@dataclass(frozen=True, slots=True)
class Achievement:
    """One achievement with its evidence; rules are None where it was never scored.

    `set_aside` is what people wrote on another achievement of the same change, where a later edit says else.
    """

    listed: ListedAchievement
    description: str | None
    started_at: datetime | None
    source_url: str | None
    merge_sha: str | None
    time_saved_hours: float | None
    impact_rules: Sequence[Rule] | None
    complexity_rules: Sequence[Rule] | None
    skills: Sequence[tuple[str, str]]
    quotes: Sequence[str]
    set_aside: Sequence[SetAside]


@dataclass(frozen=True, slots=True)
class Similar:
    """An achievement like another; `similarity` is the cosine of their vectors."""

    id: int
    title: str
    completed_at: datetime | None
    similarity: float


@dataclass(frozen=True, slots=True)
class Arc:
    """The course of a post's emotions; `reason` says why it has no shape."""

    shape: str
    reason: str | None
    dominant: str | None
    mood: float | None
    confidence: float | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class FeelingEffect:
    """What one standard deviation more of a feature of arcs does to the odds of an engagement."""

    persona: str
    design: str
    feature: str
    comparisons: int
    odds_ratio: float | None
    low: float | None
    high: float | None
    q_value: float | None
    verdict: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class ListedPost:
    """`arc` is None while it was not analysed, `engagement_rate` while nobody measured it."""

    id: int
    persona: str
    hook: str
    body: str
    ts: datetime
    generator: str | None
    arc: Arc | None
    engagement_rate: float | None
    impressions: int | None
    engagement_origin: Origin
    origin: Origin


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a post; `change` is how it follows from the part before."""

    index: int
    text: str
    mood: float | None
    dominant: str | None
    emotions: Mapping[str, float | None]
    change: str | None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The rank among its experiment's hooks that the hook model gives a hook; `sample`: did it know the experiment?"""

    rank: int
    sample: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class HookRecord:
    """How pairs of hooks whose favourite had a chance in this range came true; the whole range is 0.5 to 1.

    The interval is None where too few experiments were compared.
    """

    sample: str
    counted: str
    chance_from: float
    chance_to: float
    experiments: int
    pairs: int
    mean_chance: float
    expected_right: float
    share_right: float
    low: float | None
    high: float | None
    brier: float
    origin: Origin


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm; all figures are None until the asset has looked at it, the rate until the first impression.

    The interval from `low` to `high` covers the true rate with probability `confidence_level`.
    """

    id: str
    hook: str | None
    is_control: bool
    impressions: int | None
    successes: int | None
    rate: float | None
    low: float | None
    high: float | None
    confidence_level: float | None
    origin: Origin
    foreseen: Foreseen | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a started experiment says of `variant_id`; `p_best` by variant, `gate` what held a decision back."""

    verdict: str
    reason: str
    rule: str
    gate: str | None
    variant_id: str | None
    n: int
    p_value_sequential: float | None
    srm_p: float | None
    p_best: Mapping[str, float]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as planned, with its variants, its verdict once there is one, and the promoted variant."""

    id: str
    name: str
    status: str
    plan: Mapping[str, Any]
    started_at: datetime | None
    ended_at: datetime | None
    variants: Sequence[Variant]
    verdict: Verdict | None = None
    promoted: str | None = None
