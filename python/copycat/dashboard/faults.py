"""The one place where an exception that nobody expected becomes a sentence on every page."""

from __future__ import annotations

from copycat.fault_log import explain


class Faults:
    """The sentences about exceptions that nobody expected; every page shows those that are new to it. Any thread.

    Attributes:
        sentences: in order; only ever appended to.
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, error: Exception) -> None:
        """Logs the traceback; a fault that goes on is said once."""
        sentence = explain(error, "progress")
        if sentence not in self.sentences:
            self.sentences.append(sentence)
