"""Alembic migrations, named NNNN_verb_noun; plain SQL, upgrade and downgrade."""
