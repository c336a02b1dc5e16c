"""Every knob of the platform, with its unit and default.

Conventional names where they exist (DATABASE_URL, OPENAI_API_KEY, ...), THREADS_AGENT_* for the rest; a `.env` file in
the working directory is honoured. Secrets are SecretStr and print as asterisks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "THREADS_AGENT_"


def default_home() -> Path:
    """The one folder that holds all data: $XDG_DATA_HOME/threads-agent or the platform's equivalent."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "threads-agent"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "threads-agent"


def _conventional(name: str, description: str) -> str | None:
    return Field(default=None, validation_alias=name, description=description)


def _secret(name: str, description: str) -> SecretStr | None:
    return Field(default=None, validation_alias=name, description=description)


def _days(default: int, what: str) -> int:
    field: int = Field(default, ge=0, le=36500, description=f"days; how long is kept: {what}; 0 = for ever")
    return field


class Settings(BaseSettings):
    """All settings; read once at a process's start and handed down."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
    )

    home: Path = Field(default_factory=default_home, description="folder that holds all data of this installation")
    host: str = Field("127.0.0.1", description="address the services bind; loopback unless you mean otherwise")
    orchestrator_port: int = Field(8080, ge=0, le=65535, description="TCP port of the orchestrator API")
    achievements_port: int = Field(8090, ge=0, le=65535, description="TCP port of the achievements API")
    prompts_port: int = Field(8085, ge=0, le=65535, description="TCP port of the prompts API")
    dagster_port: int = Field(3000, ge=0, le=65535, description="TCP port of the Dagster UI")
    dash_port: int = Field(8050, ge=0, le=65535, description="TCP port of the dashboard")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    drain_seconds: float = Field(60.0, gt=0, description="s; how long one run works on its range before it hands over")
    backfill_seconds: float = Field(
        3000.0, gt=0, description="s; how long a backfill keeps its rows to itself before the sensor's runs take them"
    )
    lease_seconds: float = Field(
        30.0, gt=0, description="s; a claim that is not renewed for this long is given to others"
    )
    run_launcher: str = Field(
        "fast",
        pattern="^(default|fast)$",
        description="fast (warm run host and pooled storage) or default (Dagster's)",
    )
    emotion_scorer: str = Field(
        "accurate",
        pattern="^(accurate|fast|vader|lexicon|llm)$",
        description="accurate, fast, vader (polarity only), lexicon (your table) or llm (sends posts to OPENAI_MODEL)",
    )
    emotion_lexicon: Path | None = Field(
        None, description="table of the scorer `lexicon`: columns word, sentiment, value"
    )
    backup_dir: Path | None = Field(
        None, description="folder on another disk that receives base backups and every change; empty = HOME/backups"
    )
    backup_synchronous: bool = Field(
        False, description="true: a commit waits until backup_dir has it, so that a lost disk loses nothing"
    )
    keep_event_logs_days: int = _days(
        30, "step events and log lines of finished runs; what assets and runs did is kept"
    )
    keep_ticks_days: int = _days(7, "what sensors and schedules did; failures four times as long, idle ticks a day")
    keep_inbox_days: int = _days(30, "bodies of deliveries that no achievement was made from")
    keep_idempotency_keys_days: int = _days(7, "answers under an Idempotency-Key")
    keep_llm_calls_days: int = _days(90, "recorded answers of language models")
    keep_outbox_days: int = _days(30, "what was delivered, e.g. alerts")
    alert_webhook_url: SecretStr | None = Field(
        None, description="URL that failed runs and dead rows are posted to; empty = log only"
    )
    alert_webhook_secret: SecretStr | None = Field(
        None, description="signs what is posted there (Standard Webhooks; whsec_… or any text); empty = unsigned"
    )
    alerts_per_hour: int = Field(30, ge=1, description="alerts posted within an hour; the rest is counted, not posted")

    database_url: SecretStr | None = _secret(
        "DATABASE_URL", "PostgreSQL 15 or newer with pgvector; empty = the embedded one"
    )
    dagster_home: str | None = _conventional("DAGSTER_HOME", "folder of dagster.yaml; empty = generated below home")
    github_webhook_secret: SecretStr | None = _secret(
        "GITHUB_WEBHOOK_SECRET", "shared secret of the GitHub webhook; empty = deliveries are refused"
    )
    github_token: SecretStr | None = _secret("GITHUB_TOKEN", "token for GitHub's API; empty = the API is not asked")
    github_api_url: str = Field(
        "https://api.github.com",
        validation_alias="GITHUB_API_URL",
        description="GitHub's REST API, or a GitHub Enterprise's",
    )
    openai_api_key: SecretStr | None = _secret(
        "OPENAI_API_KEY", "key of a language model; empty = the built-in composer writes posts"
    )
    openai_base_url: str | None = _conventional("OPENAI_BASE_URL", "any OpenAI-compatible endpoint")
    openai_model: str | None = _conventional("OPENAI_MODEL", "name of the language model; must know structured output")
    llm_tokens_per_day: int = Field(
        1_000_000,
        ge=0,
        description="tokens of language models within a UTC day, reserved before each call; 0 = no calls",
    )
    llm_usd_per_million_input: float | None = Field(
        None, ge=0, description="US dollars for a million tokens that are sent; empty = costs are not known"
    )
    llm_usd_per_million_output: float | None = Field(
        None, ge=0, description="US dollars for a million tokens that come back; empty = costs are not known"
    )
    qdrant_url: str | None = _conventional("QDRANT_URL", "vector database; empty = vectors stay in PostgreSQL")
    redis_url: SecretStr | None = _secret(
        "REDIS_URL", "cache and rate limits shared by several processes; empty = in process"
    )
    amqp_url: SecretStr | None = _secret("AMQP_URL", "message bus; empty = the tasks table")
    orchestrator_url: str | None = _conventional(
        "ORCHESTRATOR_URL", "where clients reach the orchestrator; empty = host and port above"
    )
    achievement_api_url: str | None = _conventional("ACHIEVEMENT_API_URL", "where clients reach the achievements API")
    prompt_api_url: str | None = _conventional("PROMPT_API_URL", "where clients reach the prompts API")
    dagster_url: str | None = _conventional("DAGSTER_URL", "where people and clients reach the Dagster UI")
    jwt_secret: SecretStr | None = _secret("JWT_SECRET", "signs the 15-minute tokens; empty = tokens are not issued")

    def service_url(self, service: str) -> str:
        """Base URL of `orchestrator`, `achievements`, `prompts`, `dagster` or `dash`, without a trailing slash."""
        configured = {
            "orchestrator": self.orchestrator_url,
            "achievements": self.achievement_api_url,
            "prompts": self.prompt_api_url,
            "dagster": self.dagster_url,
        }.get(service)
        if configured:
            return configured.rstrip("/")
        port: int = getattr(self, f"{service}_port")
        return f"http://{self.host}:{port}"


def variable_name(field: str) -> str:
    """The environment variable that sets `field`."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field.upper()}"


def env_example() -> str:
    """The text of `.env.example`: every variable with its description and default, all commented out."""
    lines = ["# Every setting of Threads-Agent. Copy to .env and uncomment what you change."]
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory is not None or field.default is None else field.default
        lines += ["", f"# {field.description}", f"# {variable_name(name)}={default}"]
    return "\n".join(lines) + "\n"
