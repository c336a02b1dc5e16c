"""Outbound calls, one module per outside party (git, GitHub, a language model, Dagster, the platform itself).

May import domain, settings and errors; never db.
"""
