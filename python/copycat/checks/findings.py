"""The findings of a check of a data set.

An *error* stops a training, a *warning* is most likely a mistake, a *note* is good to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        severity: "error", "warning" or "note".
        sentence: names the file and the value.
        file: the file or pattern, "" for the whole data set.
    """

    severity: Severity
    sentence: str
    file: str = ""


@dataclass
class CheckReport:
    """All findings, the most severe first, and the number of frame pairs that were checked."""

    findings: list[Finding] = field(default_factory=list)
    pairs: int = 0

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop a training."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """The findings that most likely are mistakes."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    def add(self, severity: Severity, file: str | Path, sentence: str) -> None:
        """Adds a finding; the sentence begins with the file."""
        self.findings.append(Finding(severity, f"{file}: {sentence}" if file else sentence, str(file)))
