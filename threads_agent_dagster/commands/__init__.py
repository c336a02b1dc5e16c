"""One module per noun: what `threads-agent NOUN ...` does.

A module holds a Typer `app` (or plain functions that cli.py mounts) and imports what it needs inside its functions, so
that `--help` stays quick. May import local, work and what is below them.
"""
