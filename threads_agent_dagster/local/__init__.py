"""The embedded default: PostgreSQL launcher, process supervision, demo data, diagnosis.

May import work and what is below it.
"""
