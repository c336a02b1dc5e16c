"""Notify of writes to what lists show, so that no process answers with what it read before."""

from __future__ import annotations

from alembic import op

revision = "0012_notify_writes"
down_revision = "0011_create_verdicts"

TABLES = ("achievements", "achievement_theme_members")

FUNCTION = """
CREATE FUNCTION notify_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('written', TG_TABLE_NAME);
    RETURN NULL;
END
$$;
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER notify_written AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION notify_written()"
        )


def downgrade() -> None:
    op.execute("DROP FUNCTION notify_written CASCADE")
