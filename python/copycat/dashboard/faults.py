"""Turns unexpected exceptions into sentences on every page."""

from __future__ import annotations

from copycat.fault_log import explain


class Faults:
    """One sentence for each unexpected exception; every page shows the new ones. Any thread.

    Attributes:
        sentences: in order; only ever appended to.
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, error: Exception) -> None:
        """Logs the traceback; a repeated fault appears once."""
        sentence = explain(error, "progress")
        if sentence not in self.sentences:
            self.sentences.append(sentence)
