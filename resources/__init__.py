"""Adapters that hand the engine's database and clients to assets."""
