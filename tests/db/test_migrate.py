"""The migrations and the metadata describe one schema, and every migration can be undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from threads_agent_dagster.db import migrate, revisions
from threads_agent_dagster.db.engine import make_engine, sqlalchemy_url
from threads_agent_dagster.db.tables import metadata
from threads_agent_dagster.errors import ConfigurationError

LEFTOVERS = text("""
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_version%'
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
""")


def test_metadata_equals_the_migrated_database(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_every_migration_goes_up_and_down(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == revisions.head()
    migrate.downgrade(empty_database_url, "base")
    engine = make_engine(empty_database_url)
    with engine.connect() as connection:
        assert connection.execute(LEFTOVERS).all() == []
    engine.dispose()
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == revisions.head()


def test_one_line_of_migrations_with_one_head() -> None:
    """The predecessor's failure obs-24: three heads, and an upgrade that created nothing."""
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert [script.revision for script in scripts.walk_revisions()] == revisions.known()[::-1]
    assert scripts.get_current_head() == revisions.head()


def test_data_of_a_newer_version_is_refused(database_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_from_the_future'"))
    with pytest.raises(ConfigurationError, match=r"9999_from_the_future.*newer version"):
        migrate.upgrade(database_url)


def test_a_server_that_is_too_old_is_named(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 99)
    with pytest.raises(ConfigurationError, match=r"PostgreSQL \d+ answers at DATABASE_URL; 99 or newer is needed"):
        migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) is None


def test_whoever_may_create_no_extension_gets_all_but_the_index_that_needs_one(empty_database_url: str) -> None:
    admin = make_engine(empty_database_url)
    with admin.begin() as connection:
        connection.execute(text("CREATE EXTENSION vector"))
        connection.execute(text("CREATE ROLE poor LOGIN PASSWORD 'poor'"))
        connection.execute(text("GRANT CREATE ON SCHEMA public TO poor"))
    poor = sqlalchemy_url(empty_database_url).set(username="poor", password="poor")
    try:
        migrate.upgrade(poor.render_as_string(hide_password=False))
        assert migrate.current(empty_database_url) == revisions.head()
        with admin.connect() as connection:
            found = connection.execute(text("SELECT extname FROM pg_extension")).scalars().all()
            assert "pg_trgm" not in found
            assert connection.execute(text("SELECT to_regclass('idx_achievements_search')")).scalar_one() is None
        migrate.downgrade(poor.render_as_string(hide_password=False), "base")
    finally:
        with admin.begin() as connection:
            connection.execute(text("DROP OWNED BY poor"))
            connection.execute(text("DROP ROLE poor"))
        admin.dispose()
