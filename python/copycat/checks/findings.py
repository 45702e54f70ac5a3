"""What a look over a data set found.

An *error* is what a training would stop at, a *warning* what most likely is a mistake, a *note* what is good to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        severity: "error", "warning" or "note".
        sentence: what it is, with the file and the value.
        file: the file or pattern it is about, "" for the whole data set.
    """

    severity: Severity
    sentence: str
    file: str = ""


@dataclass
class Report:
    """All that was found, the gravest first, and how many pairs of frames were looked at."""

    findings: list[Finding] = field(default_factory=list)
    pairs: int = 0

    @property
    def errors(self) -> list[Finding]:
        """What a training would stop at."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """What most likely is a mistake."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    def add(self, severity: Severity, file: str | Path, sentence: str) -> None:
        """Adds a finding; the sentence begins with the file."""
        self.findings.append(Finding(severity, f"{file}: {sentence}" if file else sentence, str(file)))
