"""What the numbers mean: frozen dataclasses and pure functions.

Values, the current time and a random generator come in as arguments; values go out.
May import errors, nothing else of ours.
"""
