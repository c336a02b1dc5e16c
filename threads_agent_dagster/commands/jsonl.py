"""JSON Lines on stdin, JSON Lines on stdout, one answer per id; everything else goes to stderr."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import typer

Answer = dict[str, Any]
Item = TypeVar("Item")
Parse = Callable[[dict[str, Any]], Item]


def answer_lines(
    fields: Sequence[str], parse: Parse[Item], answers: Callable[[Sequence[Item]], Iterator[Answer]], batch: int
) -> None:
    """Answers each line in the order of reading, `batch` of them held in memory at a time.

    `parse` takes a line's object and raises ValueError when it is no item; such lines are named on stderr, the others
    answered, and the exit code is 1.
    """
    source = _Source(fields, parse)
    lines, done = iter(source), 0
    while items := list(itertools.islice(lines, batch)):
        for (key, _), answer in zip(items, answers([item for _, item in items]), strict=True):
            sys.stdout.write(json.dumps({"id": key} | answer) + "\n")
        sys.stdout.flush()
        done += len(items)
        _show_progress(done)
    if source.bad_lines:
        sys.stderr.write(f"{source.bad_lines} bad lines, {done} answered\n")
        raise typer.Exit(1)


class _Source(Generic[Item]):
    """The items on stdin, each with its id; lines that hold none are reported by number and counted."""

    def __init__(self, fields: Sequence[str], parse: Parse[Item]) -> None:
        self.bad_lines = 0
        self._expected = ", ".join(f'"{name}"' for name in fields)
        self._parse = parse

    def __iter__(self) -> Iterator[tuple[str | int, Item]]:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if not line.strip():
                continue
            try:
                yield self._read(line)
            except (ValueError, RecursionError) as error:
                self.bad_lines += 1
                sys.stderr.write(f"line {number}: {error}\n")

    def _read(self, line: bytes) -> tuple[str | int, Item]:
        found = json.loads(line)
        if not isinstance(found, dict):
            raise ValueError(f"expected an object {{{self._expected}}}")
        key = found.get("id")
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ValueError("id must be a string or an integer")
        return key, self._parse(found)


def _show_progress(done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} lines")
