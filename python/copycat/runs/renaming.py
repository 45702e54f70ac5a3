"""Renaming and deleting all files of a run, whether it is being trained or not. Standard library only."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from copycat import system_files
from copycat.runs.display import Display
from copycat.runs.files import Run, check_name
from copycat.runs.requests import Request, read_answer, send_request, withdraw_request
from copycat.runs.trainer_lock import TrainerLock, trainer_lives
from copycat.runs.writing import RunError, read_json, write_json

_LOOK_SECONDS = 0.05
_JOURNAL = ".renaming"


def rename(run: Run, name: str, timeout: float = 15.0) -> Run:
    """Renames all files of a run, through its trainer if one lives.

    Raises:
        RunError: the name is not allowed or taken, or the trainer refused or did not answer in ``timeout`` seconds.
    """
    renamed = Run(run.directory, check_name(name))
    if name == run.name:
        return run
    if not run.exists():
        raise RunError(f"{run.directory}: there is no run {run.name!r}")
    if not system_files.REMOVES_OPEN_FILES:
        raise RunError(f"run {run.name} cannot be renamed: Windows renames no open files")
    if any(path != renamed.file(".lock") for path in renamed.files()) or trainer_lives(renamed):
        raise RunError(_exists(renamed))
    if trainer_lives(run) and _trainer_renames(run, renamed, timeout):
        return renamed
    lock, current = TrainerLock(run), run
    try:
        move_files(run, renamed)
        current = renamed
    finally:
        lock.release(current)
    return renamed


def _trainer_renames(run: Run, renamed: Run, timeout: float) -> bool:
    """Asks the trainer to rename the run; False if it died before it took the request."""
    request = Request("rename", renamed.name)
    send_request(run, request)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for name in (renamed, run):
            refusal = read_answer(name, request)
            if refusal:
                raise RunError(refusal)
            if refusal is not None:
                return True
        if not trainer_lives(run) and not trainer_lives(renamed) and withdraw_request(run, request):
            return False
        time.sleep(_LOOK_SECONDS)
    if withdraw_request(run, request):
        raise RunError(f"the trainer of {run.name} did not answer within {timeout:g} s; it was not renamed")
    raise RunError(
        f"the trainer of {run.name} was asked to rename it, but did not say within {timeout:g} s that it did"
    )


def move_files(run: Run, renamed: Run) -> None:
    """Renames all files of a run, the summary last, so that a reader sees one run at any time.

    For the holder of the run's lock. ``<run>.renaming`` holds the new name meanwhile, so that :func:`complete_renames`
    can finish a rename whose process was killed.

    Raises:
        RunError: the new name is taken, or a file cannot be renamed; the files have their old names again.
    """
    reservation = _reserve(renamed)
    journal = run.file(_JOURNAL)
    moved: list[tuple[Path, Path]] = []
    try:
        write_json(journal, {"to": renamed.name})
        _move(run, renamed, moved)
    except BaseException as error:
        for path, target in reversed(moved):
            with contextlib.suppress(OSError):
                os.rename(target, path)
        with contextlib.suppress(OSError):
            os.unlink(journal)
        if renamed.file(".lock") not in (target for _, target in moved):
            with contextlib.suppress(OSError):
                os.unlink(renamed.file(".lock"))
        if isinstance(error, OSError):
            raise RunError(f"{error.filename}: cannot be renamed: {error.strerror}") from error
        raise
    finally:
        os.close(reservation)
    _end_rename(run, renamed)


def complete_renames(directory: Path) -> None:
    """Finishes renames whose process was killed; does nothing in a directory that cannot be written."""
    for journal in sorted(directory.glob(f"*{_JOURNAL}")):
        with contextlib.suppress(RunError, OSError):
            run = Run(directory, journal.name.removesuffix(_JOURNAL))
            renamed = Run(directory, str(read_json(journal).get("to", "")))
            # In this order, since the lock's file moves from the old name to the new one.
            if trainer_lives(run) or trainer_lives(renamed):
                continue
            lock = TrainerLock(renamed)  # of two processes that see the journal, only one continues
            try:
                if journal.exists():
                    run.file(".lock").unlink(missing_ok=True)
                    _move(run, renamed, [])
                    _end_rename(run, renamed)
            finally:
                lock.release(renamed)


def _reserve(renamed: Run) -> int:
    """Reserves a name by its ``.lock``, locked by the kernel; takes over the reservation of a dead process.

    Raises:
        RunError: the name is taken, or the file cannot be written.
    """
    path = renamed.file(".lock")
    if any(file != path for file in renamed.files()) or trainer_lives(renamed):
        raise RunError(_exists(renamed))
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | system_files.ALWAYS, 0o666)
    except FileExistsError:
        raise RunError(_exists(renamed)) from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    system_files.try_lock(descriptor)
    return descriptor


def _move(run: Run, renamed: Run, moved: list[tuple[Path, Path]]) -> None:
    """Renames file by file, the summary last; adds each to ``moved``."""
    paths = (path for path in run.files() if path != run.file(_JOURNAL))
    for path in sorted(paths, key=lambda path: path == run.summary):
        target = path.with_name(renamed.name + path.name[len(run.name) :])
        with contextlib.suppress(FileNotFoundError):  # an answer that was read in between
            os.rename(path, target)
            moved.append((path, target))


def _end_rename(run: Run, renamed: Run) -> None:
    with Display.edit(run.directory) as display:
        if run.name in display.runs:
            display.runs[renamed.name] = display.runs.pop(run.name)
        if display.active == run.name:
            display.active = renamed.name
    with contextlib.suppress(OSError):
        os.unlink(run.file(_JOURNAL))


def _exists(run: Run) -> str:
    return f"there is already a run {run.name!r} in {run.directory}"


def delete(run: Run, remove: Callable[[Path], None] = system_files.remove) -> None:
    """Deletes all files of a run, the summary last, so that a run with remaining files still shows.

    Raises:
        RunError: it is being trained, or a file cannot be removed.
    """
    if trainer_lives(run):
        raise RunError(f"run {run.name} is being trained; stop it before deleting it")
    lock = TrainerLock(run)
    try:
        for path in sorted(run.files(), key=lambda path: path == run.summary):
            if path != run.file(".lock"):
                with contextlib.suppress(FileNotFoundError):
                    remove(path)
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be deleted: {error.strerror}") from error
    finally:
        lock.release(run)
    with Display.edit(run.directory) as display:
        display.runs.pop(run.name, None)
        display.active = None if display.active == run.name else display.active
