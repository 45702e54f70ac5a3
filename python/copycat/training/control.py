"""Takes requests, which come through the run's files, and signals while a training runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from copycat.errors import CopycatError
from copycat.runs import Request, Run, RunError, answer_request, move_files, take_request
from copycat.training.signals import StopSignals

# Actions that need the training loop.
_OF_TRAINER = ("checkpoint", "pictures", "plan", "weights")
REASONS = {"stopped": "on request", "interrupted": "by Ctrl-C", "terminated": "by SIGTERM"}


class StoppedError(Exception):
    """The training was stopped where it could not go on to the end of a step; the text is how it ended."""


class Control:
    """Takes requests and signals; for the training's thread alone, which asks between steps, frames and tiles.

    Attributes:
        run: the run whose files are written; another one after a rename.
        stop: how the training is to end (a key of REASONS), empty while it goes on.
    """

    def __init__(self, run: Run, signals: StopSignals, *, finish: bool = False) -> None:
        """``finish``: whether Finish was requested before."""
        self.run = run
        self.stop = ""
        self._signals = signals
        self._finish = finish
        self._trainer: Callable[[Request], None] | None = None
        self._waiting: list[Request] = []

    @property
    def signalled(self) -> str:
        """The signal that this process has received: a key of REASONS, or empty."""
        return self._signals.received

    def look(self) -> str:
        """Carries out the requests since the last look; returns ``stop``."""
        with contextlib.suppress(RunError):  # the disk is full: what cannot be taken now is taken later
            while request := take_request(self.run):
                if request.action in _OF_TRAINER and self._trainer is None:
                    self._waiting.append(request)
                else:
                    self._answer(request)
        self.stop = self.stop or self.signalled
        return self.stop

    def attend(self, trainer: Callable[[Request], None]) -> None:
        """From now on ``trainer`` carries out the requests for checkpoints, pictures, weights and another plan.

        It raises CopycatError to refuse one. Those that came while the training was prepared are carried out at once.
        """
        self._trainer = trainer
        waiting, self._waiting = self._waiting, []
        with contextlib.suppress(RunError):
            for request in waiting:
                self._answer(request)

    def stopping(self) -> bool:
        """:meth:`look` as a yes or no, for renders that can be cancelled."""
        return bool(self.look())

    def take_finish(self) -> bool:
        """Whether Finish was requested since the last call."""
        requested, self._finish = self._finish, False
        return requested

    def _answer(self, request: Request) -> None:
        refusal = self._carry_out(request)
        answer_request(self.run, request, refusal)  # under the new name after a rename

    def _carry_out(self, request: Request) -> str:
        """Returns why the request is refused, empty where it is not."""
        if request.action == "stop":
            self.stop = self.stop or "stopped"
        elif request.action == "finish":
            self._finish = True
        elif request.action == "rename":
            try:
                renamed = Run(self.run.directory, request.name)
                move_files(self.run, renamed)
                self.run = renamed
            except RunError as error:
                return str(error)
        elif request.action in _OF_TRAINER and self._trainer:
            try:
                self._trainer(request)
            except CopycatError as error:
                return str(error)
        else:
            return f"{request.action!r} cannot be asked of a trainer; it knows stop, finish, rename and {_listed()}"
        return ""


def _listed() -> str:
    return ", ".join(_OF_TRAINER)
