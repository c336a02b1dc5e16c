"""Settings are the one list of knobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from threads_agent_dagster.settings import Settings, env_example, variable_name

ROOT = Path(__file__).parent.parent
CONVENTIONAL = {
    "DATABASE_URL",
    "QDRANT_URL",
    "REDIS_URL",
    "AMQP_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "GITHUB_TOKEN",
    "GITHUB_API_URL",
    "GITHUB_WEBHOOK_SECRET",
    "ORCHESTRATOR_URL",
    "ACHIEVEMENT_API_URL",
    "DAGSTER_HOME",
}


def test_env_example_is_generated_from_the_settings() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example()


def test_names_are_conventional_or_ours() -> None:
    names = {variable_name(field) for field in Settings.model_fields}
    assert names >= CONVENTIONAL
    assert {name for name in names if not name.startswith("THREADS_AGENT_")} - CONVENTIONAL == {
        "PROMPT_API_URL",
        "DAGSTER_URL",
        "JWT_SECRET",
        "OPENAI_MODEL",
    }


def test_env_file_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://u:hunter2@h/d\nTHREADS_AGENT_DASH_PORT=9999\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    settings = Settings()
    assert settings.dash_port == 9999
    assert settings.database_url is not None
    assert "hunter2" not in repr(settings)


def test_service_urls_follow_ports_unless_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACHIEVEMENT_API_URL", "https://achievements.example/")
    settings = Settings(orchestrator_port=1234)
    assert settings.service_url("orchestrator") == "http://127.0.0.1:1234"
    assert settings.service_url("achievements") == "https://achievements.example"
