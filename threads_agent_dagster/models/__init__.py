"""Packaged model files and their cards; made by training/, read by domain/."""
