"""Offline scripts that make the packaged models; each needs the packages of requirements-train.lock."""
