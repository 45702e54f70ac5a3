"""The one kind of failure that a user can act on."""

from __future__ import annotations


class CopycatError(Exception):
    """Something the user can put right: one sentence that names the file or knob and the value.

    The command line prints it and exits with 1, hosts show it as a message. Every other exception is a bug.
    """

    def __init__(self, sentence: str = "") -> None:
        """Takes the sentence; bytes of a file name that are not UTF-8 are written as ``\\udcff``."""
        super().__init__(sentence.encode("utf-8", "backslashreplace").decode())


class UnexpectedError(CopycatError):
    """An exception that copycat did not foresee, as one sentence that names the log; ``__cause__`` is the exception."""
