"""The tables, their migrations and one module of queries per noun.

SQLAlchemy Core and bound parameters only. May import domain, settings and errors.
"""
