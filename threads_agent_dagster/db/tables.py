"""Every table of the platform as SQLAlchemy Core metadata.

The migrations create them; a test holds the two against each other. Times are timestamptz in UTC. A measured column is
NULL until it was measured. Columns of derived rows that say where they come from: run_id (the Dagster run),
code_version or scorer_version, and a foreign key to the input.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ENUM, JSONB, TIMESTAMP
from sqlalchemy.types import UserDefinedType

from threads_agent_dagster.domain.achievements import CATEGORIES, SOURCE_TYPES
from threads_agent_dagster.domain.emotions import EMOTIONS

metadata = MetaData(
    naming_convention={
        "ix": "idx_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "chk_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "%(table_name)s_pkey",
    }
)
achievement_category = ENUM(*CATEGORIES, name="achievement_category", metadata=metadata, create_type=False)
source_type_enum = ENUM(*SOURCE_TYPES, name="source_type_enum", metadata=metadata, create_type=False)

POLARITIES = ("positive", "negative", "neutral", "compound")


class Halfvec(UserDefinedType[str]):
    """pgvector's vector of half-precision numbers, as many as its row's `dimensions` says; written `[1,2,3]`."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The name of the type."""
        return "HALFVEC"


def _time(name: str, *, required: bool = False, now: bool = False) -> Column[Any]:
    return Column(
        name,
        TIMESTAMP(timezone=True),
        nullable=not (required or now),
        server_default=func.now() if now else None,
    )


def _json(name: str, default: str | None = "{}") -> Column[Any]:
    if default is None:
        return Column(name, JSONB(none_as_null=True))
    return Column(name, JSONB(none_as_null=True), nullable=False, server_default=text(f"'{default}'::jsonb"))


def _origin() -> list[Column[Any]]:
    """Who made a derived row: the Dagster run and the version of the code that computed it."""
    return [Column("run_id", Text), Column("code_version", Text)]


# The queue: exactly what is not done yet.

_TRANSACTION_PRIORITY = "COALESCE(NULLIF(current_setting('threads_agent.priority', true), ''), '1')::smallint"

pending_change = Sequence("pending_change", metadata=metadata)

pending = Table(
    "pending",
    metadata,
    Column("asset", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default=text(_TRANSACTION_PRIORITY)),
    Column("change", BigInteger, nullable=False, server_default=text("nextval('pending_change'::regclass)")),
    Column("claim", BigInteger),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _time("lease_until"),
    _time("not_before"),
    Column("error", Text),
    _time("dead_at"),
    Column("backfill", Text),
    Column("holder", Integer),
    PrimaryKeyConstraint("asset", "key"),
    CheckConstraint("priority BETWEEN 0 AND 2", name="priority"),
    Index(
        "idx_pending_order", "asset", text("(change + priority * 1000000)"), postgresql_where=text("dead_at IS NULL")
    ),
    Index("idx_pending_day", "asset", "day"),
    Index("idx_pending_backfill", "backfill", postgresql_where=text("backfill IS NOT NULL")),
)

# History made anew: who asked for it (the Dagster run that began it), and what earlier work took.

backfills = Table(
    "backfills",
    metadata,
    Column("id", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    Column("force", Boolean, nullable=False),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    _time("started_at", now=True),
    _time("lease_until"),
    _time("ended_at"),
    Column("outcome", Text),
    PrimaryKeyConstraint("id", "asset"),
    CheckConstraint("outcome IN ('done', 'handed over', 'cancelled')", name="outcome"),
)

drain_rates = Table(
    "drain_rates",
    metadata,
    Column("asset", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("drains", BigInteger, nullable=False),
    Column("rows", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("rows_rows", Double, nullable=False),
    Column("rows_seconds", Double, nullable=False),
    Column("tokens", BigInteger),
    Column("cost_usd", Numeric),
    _time("measured_at", now=True),
    PrimaryKeyConstraint("asset", "code_version"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    _json("payload"),
    _time("created_at", now=True),
    _time("delivered_at"),
    Column("withheld", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("topic", "key"),
    Index("idx_outbox_delivered", "topic", "delivered_at", postgresql_where=text("delivered_at IS NOT NULL")),
)

llm_budgets = Table(
    "llm_budgets",
    metadata,
    Column("day", Date, primary_key=True),
    Column("used_tokens", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("used_tokens >= 0", name="used"),
)

llm_calls = Table(
    "llm_calls",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'reserved'")),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("used_tokens", BigInteger),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cost_usd", Numeric),
    _json("answer", default=None),
    Column("error", Text),
    Column("run_id", Text),
    _time("created_at", now=True),
    _time("settled_at"),
    CheckConstraint("status IN ('reserved', 'answered', 'refused', 'lost')", name="status"),
    CheckConstraint("reserved_tokens > 0", name="reserved"),
    CheckConstraint("(status = 'reserved') = (used_tokens IS NULL)", name="settled"),
    Index("idx_llm_calls_answered", "request_hash", unique=True, postgresql_where=text("status = 'answered'")),
    Index("idx_llm_calls_reserved", "request_hash", unique=True, postgresql_where=text("status = 'reserved'")),
    Index("idx_llm_calls_day", "day"),
)

# Who may come in, and what was already answered.

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    _time("created_at", now=True),
    _time("expires_at"),
    _time("last_used_at"),
    _time("revoked_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body_hash", Text, nullable=False),
    Column("status", Integer),
    _json("response", default=None),
    _time("created_at", now=True),
    PrimaryKeyConstraint("principal", "route", "key"),
)

# Where rows come from.

imports = Table(
    "imports",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("demo", Boolean, nullable=False, server_default=text("false")),
    _time("started_at", now=True),
    _time("finished_at"),
    Column("row_count", BigInteger),
    CheckConstraint("kind IN ('git', 'github', 'experiments', 'demo')", name="kind"),
    Index("idx_imports_github", "source", unique=True, postgresql_where=text("kind = 'github'")),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("source", Text, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("body_hash", Text, nullable=False),
    _json("headers"),
    Column("day", Date, nullable=False),
    _time("received_at", now=True),
    Column("status", Text, nullable=False, server_default=text("'received'")),
    Column("reason", Text),
    UniqueConstraint("source", "delivery_id"),
    UniqueConstraint("source", "body_hash"),
    CheckConstraint("status IN ('received', 'processed', 'ignored', 'failed')", name="status"),
    Index("idx_inbox_day", "day"),
)

git_commits = Table(
    "git_commits",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="CASCADE"), nullable=False),
    Column("repository", Text, nullable=False),
    Column("sha", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("change", JSONB, nullable=False),
    UniqueConstraint("repository", "sha"),
    Index("idx_git_commits_import_id", "import_id"),
    Index("idx_git_commits_day", "day"),
)

# A merged pull request is listed first, then read: `change` is what was read when it was `read_updated_at`.
pull_requests = Table(
    "pull_requests",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="CASCADE")),
    Column("repository", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("merge_sha", Text),
    Column("day", Date, nullable=False),
    _time("merged_at", required=True),
    _time("updated_at", required=True),
    _time("listed_at", now=True),
    Column("reason", Text),
    _time("read_updated_at"),
    Column("change", JSONB),
    UniqueConstraint("repository", "number"),
    Index("idx_pull_requests_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
    Index("idx_pull_requests_day", "day"),
)

# `etag` and `seen_until` are what the last whole listing saw; they belong to `import_id`, and fall with it.
github_repositories = Table(
    "github_repositories",
    metadata,
    Column("repository", Text, primary_key=True),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="SET NULL")),
    Column("etag", Text),
    _time("seen_until"),
    _time("connected_at"),
    Column("hook_id", BigInteger),
    Column("hook_url", Text),
    _time("checked_at"),
    Column("failure", Text),
)

# Who is me; `value` is in lower case.
identities = Table(
    "identities",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    _time("added_at", now=True),
    CheckConstraint("kind IN ('email', 'login')", name="kind"),
)

# Content.

personas = Table(
    "personas",
    metadata,
    Column("id", String(50), primary_key=True),
    Column("name", Text, nullable=False),
    Column("voice", Text, nullable=False),
    _time("created_at", now=True),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("type", String(50), nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default=text("1")),
    Column("status", String(20), nullable=False, server_default=text("'queued'")),
    _time("created_at", now=True),
    _time("started_at"),
    _time("completed_at"),
    Column("error_message", Text),
    Column("retry_count", Integer, nullable=False, server_default=text("0")),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="CASCADE")),
    CheckConstraint("status IN ('queued', 'processing', 'completed', 'failed')", name="status"),
    CheckConstraint("type IN ('content.generation', 'achievement.analysis', 'emotion.analysis')", name="type"),
    Index("idx_tasks_status", "status", "created_at"),
    Index("idx_tasks_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'draft'")),
    _json("plan"),
    Column("plan_hash", Text),
    _time("created_at", now=True),
    _time("started_at"),
    _time("ended_at"),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="CASCADE")),
    CheckConstraint("status IN ('draft', 'running', 'stopped')", name="status"),
    Index("idx_experiments_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
)

variants = Table(
    "variants",
    metadata,
    Column("variant_id", String(100), primary_key=True),
    Column("experiment_id", String(100), ForeignKey("experiments.id", ondelete="CASCADE")),
    _json("dimensions"),
    Column("hook", Text),
    Column("is_control", Boolean, nullable=False, server_default=text("false")),
    _time("created_at", now=True),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="CASCADE")),
    Index("idx_variants_experiment_id", "experiment_id"),
    Index("idx_variants_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
)

observations = Table(
    "observations",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("variant_id", String(100), ForeignKey("variants.variant_id", ondelete="CASCADE"), nullable=False),
    Column("impressions", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    _time("observed_at", required=True),
    _time("recorded_at", now=True),
    Column("steered", Boolean, nullable=False, server_default=text("false")),
    _json("guardrails", None),
    CheckConstraint("impressions >= 0 AND successes BETWEEN 0 AND impressions", name="counts"),
    Index("idx_observations_variant", "variant_id", postgresql_include=["impressions", "successes", "observed_at"]),
)

# What was recorded since a variant's statistics were made; folded into them and deleted.
observation_deltas = Table(
    "observation_deltas",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("variant_id", String(100), ForeignKey("variants.variant_id", ondelete="CASCADE"), nullable=False),
    Column("impressions", BigInteger, nullable=False),
    Column("successes", BigInteger, nullable=False),
    Column("steered_impressions", BigInteger, nullable=False),
    Column("steered_successes", BigInteger, nullable=False),
    _json("guardrails", None),
    _time("last_used"),
    Column("recount", Boolean, nullable=False, server_default=text("false")),
    Index("idx_observation_deltas_variant_id", "variant_id"),
)

variant_performance = Table(
    "variant_performance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column(
        "variant_id", String(100), ForeignKey("variants.variant_id", ondelete="CASCADE"), nullable=False, unique=True
    ),
    Column("dimensions", JSONB, nullable=False),
    Column("impressions", BigInteger, nullable=False, server_default=text("0")),
    Column("successes", BigInteger, nullable=False, server_default=text("0")),
    _time("last_used"),
    _time("created_at", now=True),
    Column("confidence_level", Double),
    Column("mean_performance", Double),
    Column("variance", Double),
    Column("ci_low", Double),
    Column("ci_high", Double),
    _time("updated_at", now=True),
    *_origin(),
    Column("steered_impressions", BigInteger, nullable=False, server_default=text("0")),
    Column("steered_successes", BigInteger, nullable=False, server_default=text("0")),
    _json("guardrails"),
    CheckConstraint("impressions >= 0 AND successes BETWEEN 0 AND impressions", name="counts"),
    CheckConstraint(
        "steered_impressions BETWEEN 0 AND impressions AND steered_successes BETWEEN 0 AND steered_impressions",
        name="steered",
    ),
    Index("idx_variant_performance", "variant_id"),
    Index("idx_variant_last_used", text("last_used DESC")),
)

experiment_verdicts = Table(
    "experiment_verdicts",
    metadata,
    Column("experiment_id", String(100), ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("plan_hash", Text, nullable=False),
    Column("input_version", Text, nullable=False),
    Column("test", Text, nullable=False),
    Column("prior", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("smallest", BigInteger, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("variant_id", Text),
    Column("gate", Text),
    Column("p_value", Double),
    Column("p_value_sequential", Double),
    Column("srm_p", Double),
    Column("stale", Boolean, nullable=False),
    Column("document", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    _time("computed_at", now=True),
    *_origin(),
    CheckConstraint("verdict IN ('ship', 'roll back', 'keep running', 'no evidence', 'unhealthy')", name="verdict"),
)

promotions = Table(
    "promotions",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("experiment_id", String(100), ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("variant_id", String(100), ForeignKey("variants.variant_id", ondelete="CASCADE"), nullable=False),
    _time("promoted_at", now=True),
    Column("promoted_by", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("reason", Text),
    Column("verdict", Text),
    Column("verdict_sha256", Text),
    _time("undone_at"),
    Column("undone_by", Text),
    Column("undo_reason", Text),
    CheckConstraint("NOT forced OR reason IS NOT NULL", name="forced"),
    Index("idx_promotions_experiment_id", "experiment_id", "id"),
    Index("idx_promotions_variant_id", "variant_id"),
)

# Which variant a unit was given by a policy; a fixed split needs no memory.
assignments = Table(
    "assignments",
    metadata,
    Column("experiment_id", String(100), ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("unit_id", Text, primary_key=True),
    Column("variant_id", String(100), ForeignKey("variants.variant_id", ondelete="CASCADE"), nullable=False),
    Column("steered", Boolean, nullable=False),
    _time("assigned_at", now=True),
    Index("idx_assignments_variant_id", "variant_id"),
)

hook_predictions = Table(
    "hook_predictions",
    metadata,
    Column("variant_id", String(100), ForeignKey("variants.variant_id", ondelete="CASCADE"), primary_key=True),
    Column("experiment_id", String(100), ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("predicted_logit", Double, nullable=False),
    Column("predicted_sd", Double, nullable=False),
    Column("predicted_rank", Integer, nullable=False),
    Column("sample", String(20), nullable=False),
    Column("model_version", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    _time("created_at", now=True),
    *_origin(),
    CheckConstraint("sample IN ('unseen', 'out of fold', 'in sample')", name="sample"),
    Index("idx_hook_predictions_experiment_id", "experiment_id"),
)

hook_calibration = Table(
    "hook_calibration",
    metadata,
    Column("sample", String(20), primary_key=True),
    Column("counted", String(20), primary_key=True),
    Column("chance_from", Double, primary_key=True),
    Column("chance_to", Double, primary_key=True),
    Column("experiments", Integer, nullable=False),
    Column("pairs", Integer, nullable=False),
    Column("mean_chance", Double, nullable=False),
    Column("expected_right", Double, nullable=False),
    Column("share_right", Double, nullable=False),
    Column("share_low", Double),
    Column("share_high", Double),
    Column("brier", Double, nullable=False),
    Column("log_loss", Double, nullable=False),
    Column("model_version", Text, nullable=False),
    _time("created_at", now=True),
    *_origin(),
    CheckConstraint("sample IN ('unseen', 'out of fold', 'in sample')", name="sample"),
    CheckConstraint("counted IN ('all', 'significant')", name="counted"),
)

posts = Table(
    "posts",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("persona_id", String(50), ForeignKey("personas.id"), nullable=False),
    Column("hook", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("tokens_used", Integer),
    _time("ts", now=True),
    Column("engagement_rate", Double),
    Column("original_input", Text),
    _json("metadata"),
    Column("task_id", BigInteger, ForeignKey("tasks.id", ondelete="SET NULL"), unique=True),
    Column("variant_id", String(100), ForeignKey("variants.variant_id", ondelete="SET NULL")),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="CASCADE")),
    Column("generator", Text),
    _time("edited_at"),
    Column("edited_by", Text),
    *_origin(),
    Index("idx_posts_persona", "persona_id"),
    Index("idx_posts_persona_ts", "persona_id", text("ts DESC")),
    Index("idx_posts_ts", text("ts DESC")),
    Index("idx_posts_engagement", text("engagement_rate DESC")),
    Index("idx_posts_variant_id", "variant_id", postgresql_where=text("variant_id IS NOT NULL")),
    Index("idx_posts_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
)

engagement_snapshots = Table(
    "engagement_snapshots",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("post_id", BigInteger, ForeignKey("posts.id", ondelete="CASCADE"), nullable=False),
    Column("impressions", BigInteger, nullable=False),
    Column("engagements", BigInteger, nullable=False),
    _time("observed_at", required=True),
    _time("recorded_at", now=True),
    CheckConstraint("impressions >= 0 AND engagements >= 0", name="counts"),
    Index("idx_engagement_snapshots_post", "post_id", text("observed_at DESC")),
)

post_engagement = Table(
    "post_engagement",
    metadata,
    Column("post_id", BigInteger, ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True),
    Column("persona_id", String(50), nullable=False),
    Column("day", Date, nullable=False),
    Column("snapshot_id", BigInteger, ForeignKey("engagement_snapshots.id", ondelete="CASCADE"), nullable=False),
    Column("impressions", BigInteger, nullable=False),
    Column("engagements", BigInteger, nullable=False),
    Column("engagement_rate", Double),
    _time("observed_at", required=True),
    _time("updated_at", now=True),
    *_origin(),
)

# Emotions.

emotion_trajectories = Table(
    "emotion_trajectories",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("post_id", BigInteger, ForeignKey("posts.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("persona_id", String(50), nullable=False),
    Column("day", Date, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("segment_count", Integer, nullable=False),
    Column("trajectory_type", String(20), nullable=False),
    Column("reason", Text),
    *(Column(f"{emotion}_avg", Double) for emotion in EMOTIONS),
    *(Column(f"sentiment_{polarity}", Double) for polarity in POLARITIES),
    Column("dominant_emotion", String(20)),
    Column("emotional_variance", Double),
    Column("peaks", ARRAY(Integer), nullable=False),
    Column("valleys", ARRAY(Integer), nullable=False),
    Column("confidence", Double),
    Column("scorer_version", Text, nullable=False),
    Column("processing_time_ms", Integer),
    _time("created_at", now=True),
    *_origin(),
    CheckConstraint(
        "trajectory_type IN ('rising', 'falling', 'stable', 'volatile', 'insufficient')", name="trajectory_type"
    ),
    CheckConstraint("trajectory_type <> 'insufficient' OR reason IS NOT NULL", name="reason"),
    Index("idx_emotion_post", "post_id"),
    Index("idx_emotion_persona", "persona_id"),
    Index("idx_emotion_created", text("created_at DESC")),
    Index("idx_emotion_content_hash", "content_hash"),
    Index("idx_emotion_day", "day"),
)

emotion_segments = Table(
    "emotion_segments",
    metadata,
    Column("trajectory_id", BigInteger, ForeignKey("emotion_trajectories.id", ondelete="CASCADE"), nullable=False),
    Column("index", Integer, nullable=False),
    Column("text", Text, nullable=False),
    *(Column(emotion, Double) for emotion in EMOTIONS),
    *(Column(f"sentiment_{polarity}", Double) for polarity in POLARITIES),
    Column("dominant_emotion", String(20)),
    PrimaryKeyConstraint("trajectory_id", "index"),
)

emotion_transitions = Table(
    "emotion_transitions",
    metadata,
    Column("trajectory_id", BigInteger, ForeignKey("emotion_trajectories.id", ondelete="CASCADE"), nullable=False),
    Column("from_index", Integer, nullable=False),
    Column("to_index", Integer, nullable=False),
    Column("from_emotion", String(20)),
    Column("to_emotion", String(20)),
    Column("intensity_change", Double, nullable=False),
    Column("type", String(20), nullable=False),
    PrimaryKeyConstraint("trajectory_id", "from_index"),
)


emotion_effects = Table(
    "emotion_effects",
    metadata,
    Column("persona_id", String(50), primary_key=True),
    Column("design", String(20), primary_key=True),
    Column("feature", String(20), primary_key=True),
    Column("comparisons", Integer, nullable=False),
    Column("posts", Integer, nullable=False),
    Column("odds_ratio", Double),
    Column("odds_ratio_low", Double),
    Column("odds_ratio_high", Double),
    Column("p_value", Double),
    Column("q_value", Double),
    Column("verdict", String(20), nullable=False),
    Column("scorer_version", Text, nullable=False),
    _time("created_at", now=True),
    *_origin(),
    CheckConstraint("design IN ('randomised', 'observed')", name="design"),
    CheckConstraint("verdict IN ('raises', 'lowers', 'no evidence', 'too little data')", name="verdict"),
)

# Achievements.

# Where the search looks. It is one expression, as the index knows it.
_ALSO_SEARCHED = ("description", "repository", "author_name", "author_login", "author_email")
ACHIEVEMENT_WORDS = " || ' ' || ".join(("title", *(f"coalesce({name}, '')" for name in _ALSO_SEARCHED)))

achievements = Table(
    "achievements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", String(255), nullable=False),
    Column("description", Text),
    Column("category", achievement_category, nullable=False),
    _time("started_at"),
    _time("completed_at"),
    Column(
        "duration_hours",
        Double,
        Computed("EXTRACT(EPOCH FROM (completed_at - started_at)) / 3600", persisted=True),
    ),
    Column("impact_score", Double),
    Column("complexity_score", Double),
    _json("business_value", default=None),
    Column("time_saved_hours", Double),
    Column("performance_improvement_pct", Double),
    Column("source_type", source_type_enum, nullable=False),
    Column("source_key", Text, nullable=False, unique=True, server_default=text("'manual:' || gen_random_uuid()")),
    Column("source_id", String(255)),
    Column("source_url", String(500)),
    Column("repository", Text),
    Column("merge_sha", Text),
    Column("author_name", Text),
    Column("author_email", Text),
    Column("author_login", Text),
    Column("portfolio_ready", Boolean, nullable=False, server_default=text("false")),
    Column("portfolio_section", String(100)),
    Column("display_priority", Integer, nullable=False, server_default=text("50")),
    Column("linkedin_post_id", String(255)),
    _time("linkedin_published_at"),
    _json("metadata_json"),
    _json("impact_rules", default=None),
    _json("complexity_rules", default=None),
    _json("skills", "[]"),
    Column("scorer_version", Text),
    Column("inbox_id", BigInteger, ForeignKey("inbox.id", ondelete="SET NULL")),
    Column("push_id", BigInteger, ForeignKey("inbox.id", ondelete="SET NULL")),
    Column("commit_id", BigInteger, ForeignKey("git_commits.id", ondelete="SET NULL")),
    Column("pull_request_id", BigInteger, ForeignKey("pull_requests.id", ondelete="SET NULL")),
    Column("import_id", BigInteger, ForeignKey("imports.id", ondelete="CASCADE")),
    _time("created_at", now=True),
    _time("updated_at", now=True),
    _time("deleted_at"),
    Column("edited_fields", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    _time("edited_at"),
    Column("edited_by", Text),
    *_origin(),
    CheckConstraint("impact_score BETWEEN 0 AND 100", name="impact_score"),
    CheckConstraint("complexity_score BETWEEN 0 AND 100", name="complexity_score"),
    CheckConstraint("completed_at >= started_at", name="chronology"),
    Index("idx_achievements_category", "category"),
    Index("idx_achievements_impact", text("impact_score DESC")),
    Index("idx_achievements_portfolio", "portfolio_ready", "display_priority"),
    Index("idx_achievements_source", "source_type", "source_id"),
    Index(
        "idx_achievements_composite",
        "portfolio_ready",
        text("impact_score DESC"),
        text("created_at DESC"),
        postgresql_where=text("portfolio_ready = true"),
    ),
    Index("idx_achievements_completed", text("completed_at DESC")),
    Index("idx_achievements_merge_sha", "merge_sha", unique=True, postgresql_where=text("merge_sha IS NOT NULL")),
    Index("idx_achievements_inbox_id", "inbox_id", postgresql_where=text("inbox_id IS NOT NULL")),
    Index("idx_achievements_commit_id", "commit_id", postgresql_where=text("commit_id IS NOT NULL")),
    Index("idx_achievements_push_id", "push_id", postgresql_where=text("push_id IS NOT NULL")),
    Index("idx_achievements_pull_request_id", "pull_request_id", postgresql_where=text("pull_request_id IS NOT NULL")),
    Index("idx_achievements_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
    Index("idx_achievements_search", text(f"({ACHIEVEMENT_WORDS}) gin_trgm_ops"), postgresql_using="gin"),
)

portfolio = Table(
    "portfolio",
    metadata,
    Column("achievement_id", Integer, ForeignKey("achievements.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("section", Text, nullable=False),
    Column("content_sha256", Text, nullable=False),
    _time("sealed_at", now=True),
    *_origin(),
)

# What achievements are about: a vector each, and themes found on all of them.

achievement_embeddings = Table(
    "achievement_embeddings",
    metadata,
    Column("achievement_id", Integer, ForeignKey("achievements.id", ondelete="CASCADE"), primary_key=True),
    Column("model", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("embedding", Halfvec, nullable=False),
    _time("updated_at", now=True),
    *_origin(),
    CheckConstraint("vector_dims(embedding) = dimensions", name="dimensions"),
    Index("idx_achievement_embeddings_model", "model"),
)

achievement_themes = Table(
    "achievement_themes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("label", Text, nullable=False),
    Column("words", ARRAY(Text), nullable=False),
    _time("updated_at", now=True),
    *_origin(),
)

achievement_theme_members = Table(
    "achievement_theme_members",
    metadata,
    Column("achievement_id", Integer, ForeignKey("achievements.id", ondelete="CASCADE"), primary_key=True),
    Column("theme_id", Integer, ForeignKey("achievement_themes.id", ondelete="CASCADE"), nullable=False),
    Column("closeness", Double, nullable=False),
    CheckConstraint("closeness BETWEEN -1 AND 1", name="closeness"),
    Index("idx_achievement_theme_members_theme_id", "theme_id", text("closeness DESC")),
)

# Dashboard: triggers append what changed to metric_deltas, the dashboard_metrics asset folds it into the daily rollup,
# and the view dashboard_metrics (made by a migration) sums the last 30 days of it.

metric_deltas = Table(
    "metric_deltas",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("day", Date, nullable=False),
    Column("metric", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("total", Numeric, nullable=False),
)

dashboard_metrics_daily = Table(
    "dashboard_metrics_daily",
    metadata,
    Column("day", Date, nullable=False),
    Column("metric", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("total", Numeric, nullable=False),
    PrimaryKeyConstraint("metric", "day", "label"),
)

dashboard_refreshes = Table(
    "dashboard_refreshes",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _time("refreshed_at", now=True),
    Column("folded", BigInteger, nullable=False),
    *_origin(),
    Index("idx_dashboard_refreshes_refreshed_at", text("refreshed_at DESC")),
)
