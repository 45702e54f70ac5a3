"""The files of a run: one trainer writes them, many read them. Standard library only.

A run is a name, ``Training_YYMMDD_HHMMSS`` unless renamed, and all files of the Data Directory whose name is that
name followed by exactly one of these:

====================================  ==========================================================================
``_<step>.cat``, ``_best.cat``        checkpoints, deployable (format: :mod:`copycat.cat`)
``_<step>.png``                       contact sheet
``_<step>_preview.png``               preview
``.summary``                          JSON lines, appended to as training goes on (below)
``.ost``                              resume state (format: :mod:`copycat.checkpoint`)
``.json``                             settings and provenance, written once at the start
``.lock``                             held by the living trainer: host, pid, heartbeat
``.request``, ``.answer``             what others ask of the living trainer, and what it answered
``_input.<frame>.exr`` and            frames that a compositing host handed over
``_groundTruth.<frame>.exr``
====================================  ==========================================================================

So ``shot`` and ``shot_v2`` never mix. Every file is written whole beside its place, synced and renamed; only
``.summary`` is appended to.

Lines of a ``.summary``, each a JSON object:

* the header ``{"run": {...}}``: total steps, stages as ``[[level, first step, last step], ...]`` (null where a time
  limit decides), pairs, batch, channels, model size, device, start time. A resume appends a further header.
* a step ``{"step": 12, "loss": 0.031, "parts": {"l1": .., "l2": ..}, "level": 4, "lr": 1e-3, "time": 3.2}``, time in
  seconds of training so far; steps per second, ``"memory"`` (peak bytes on the GPU) now and then.
* a validation ``{"step": 1000, "psnr": 38.2}``.
* the end ``{"end": "finished" | "stopped" | "interrupted" | "terminated" | "failed", "reason": "...", "step": n}``.

Readers ignore a torn last line. A resume first drops the lines past the step it resumes from.

``copycat.json`` of the Data Directory holds what belongs to the display: the active run, and each run's colour and
whether its curve shows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from copycat.errors import CopycatError

HEARTBEAT_SECONDS = 10.0
_STALE_SECONDS = 6 * HEARTBEAT_SECONDS
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,118}[A-Za-z0-9_-])?")
_SUFFIX = re.compile(
    r"_(?P<step>\d+)\.cat|_best\.cat|_(?P<sheet>\d+)\.png|_(?P<preview>\d+)_preview\.png"
    r"|\.summary|\.ost|\.json|\.lock|\.request|\.answer|_input\.-?\d+\.exr|_groundTruth\.-?\d+\.exr"
)
PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")


class RunError(CopycatError):
    """A run cannot be found, named, locked or written."""


# -- writing ---------------------------------------------------------------------------------------------------------


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all, whatever happens meanwhile.

    On Linux the data first go to a file without a name, so that even a killed process leaves nothing half written.

    Raises:
        RunError: the disk is full, or the directory cannot be written.
    """
    try:
        _write_whole(path, data)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        named = False
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) in (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR):
            raise
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        named = True
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            if not named:
                os.link(f"/proc/self/fd/{stream.fileno()}", temporary, follow_symlinks=True)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems refuse to sync a directory
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """:func:`write_whole` of an object as JSON."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when the file is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


# -- names and files -------------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """``name`` if a run may bear it.

    Raises:
        RunError: it is empty, too long, or holds characters that are not safe in file names everywhere.
    """
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name!r} is no name for a run: use 1 to 120 letters, digits, spaces and . _ -, "
            "beginning with a letter or digit"
        )
    return name


@dataclass(frozen=True)
class Run:
    """The files of one run. Nothing is read or written until a method says so."""

    directory: Path
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "directory", Path(self.directory))
        check_name(self.name)

    def file(self, suffix: str) -> Path:
        """The run's file with the given suffix, as ``.summary`` or ``_1000.cat``."""
        return self.directory / f"{self.name}{suffix}"

    @property
    def summary(self) -> Path:
        """Loss per step."""
        return self.file(".summary")

    @property
    def resume_state(self) -> Path:
        """What a resume continues from."""
        return self.file(".ost")

    @property
    def provenance(self) -> Path:
        """Settings, pairs, versions, host."""
        return self.file(".json")

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation PSNR."""
        return self.file("_best.cat")

    def checkpoint(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.file(f"_{step}.cat")

    def contact_sheet(self, step: int) -> Path:
        """The contact sheet of a step."""
        return self.file(f"_{step}.png")

    def preview(self, step: int) -> Path:
        """The preview of a step."""
        return self.file(f"_{step}_preview.png")

    def files(self) -> list[Path]:
        """Every file of the run that exists, sorted."""
        return sorted(path for path, _ in self._matches())

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, path) of every numbered checkpoint, by step."""
        return self._numbered("step")

    def contact_sheets(self) -> list[tuple[int, Path]]:
        """(step, path) of every contact sheet, by step."""
        return self._numbered("sheet")

    def previews(self) -> list[tuple[int, Path]]:
        """(step, path) of every preview, by step."""
        return self._numbered("preview")

    def exists(self) -> bool:
        """Whether any file of the run exists."""
        return any(True for _ in self._matches())

    def _numbered(self, group: str) -> list[tuple[int, Path]]:
        return sorted((int(match[group]), path) for path, match in self._matches() if match[group])

    def _matches(self) -> Iterator[tuple[Path, re.Match[str]]]:
        try:
            names = os.listdir(self.directory)
        except OSError:
            return
        for name in names:
            if name.startswith(self.name) and (match := _SUFFIX.fullmatch(name[len(self.name) :])):
                yield self.directory / name, match


def new_run(directory: Path, now: datetime | None = None) -> Run:
    """A run named after the local time, with ``_2``, ``_3`` ... when that second already has one."""
    stem = (now or datetime.now()).strftime("Training_%y%m%d_%H%M%S")
    name, count = stem, 1
    while (run := Run(directory, name)).exists():
        count += 1
        name = f"{stem}_{count}"
    return run


def find_runs(directory: str | Path) -> list[Run]:
    """The runs of a Data Directory, the one that was written to last first.

    Raises:
        RunError: the directory does not exist or cannot be read.
    """
    directory = Path(directory)
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise RunError(f"{directory}: the Data Directory cannot be read: {error.strerror}") from error
    found = {name.removesuffix(".summary") for name in names if name.endswith(".summary")}
    runs = [Run(directory, name) for name in found if _NAME.fullmatch(name)]
    return sorted(runs, key=lambda run: (_modified(run.summary), run.name), reverse=True)


def find_run(directory: str | Path, name: str | None = None) -> Run:
    """The named run, else the newest.

    Raises:
        RunError: there is none; the message lists those there are.
    """
    found = find_runs(directory)
    if name is None:
        if not found:
            raise RunError(f"{directory}: the Data Directory holds no run")
        return found[0]
    for run in found:
        if run.name == name:
            return run
    names = ", ".join(run.name for run in found) or "none"
    raise RunError(f"{directory}: there is no run {name!r} (runs: {names})")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# -- the summary -----------------------------------------------------------------------------------------------------


class SummaryWriter:
    """Appends lines to a run's ``.summary``; flushed line by line, so that readers see whole lines."""

    def __init__(self, run: Run, resume_step: int | None = None) -> None:
        """Opens the summary; with ``resume_step``, drops the lines past that step first."""
        self._run = run
        if resume_step is not None:
            kept = [line for line in _whole_lines(run.summary) if _belongs_before(line, resume_step)]
            write_whole(run.summary, b"".join(kept))
        try:
            self._stream = run.summary.open("ab", buffering=0)
        except OSError as error:
            raise RunError(f"{run.summary}: cannot be written: {error.strerror}") from error

    def append(self, *records: Mapping[str, Any]) -> None:
        """Writes records as one block of lines."""
        lines = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
        try:
            if lines and self._stream.write(lines) != len(lines):
                raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RunError(f"{self._run.summary}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Syncs and closes the file."""
        with contextlib.suppress(OSError):
            os.fsync(self._stream.fileno())
        self._stream.close()


def _whole_lines(path: Path) -> list[bytes]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)


def _belongs_before(line: bytes, step: int) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "end" not in record and record.get("step", 0) <= step


class SummaryReader:
    """Reads a ``.summary`` that may still be growing, each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = -1

    def poll(self) -> tuple[list[dict[str, Any]], bool]:
        """The records since the last call, and whether the file was begun anew (a resume dropped lines).

        When it was, the records are all of the file's and replace what was read before. A torn last line is left
        for the next call; a line that is no JSON object is passed over.
        """
        try:
            with self._path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                anew = status.st_ino != self._inode or status.st_size < self._offset
                if anew:
                    self._offset, self._inode = 0, status.st_ino
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return [], False
        end = data.rfind(b"\n") + 1
        self._offset += end
        records = []
        for line in data[:end].splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                records.append(record)
        return records, anew


# -- what is known of a run ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunInfo:
    """A row of the runs table.

    Attributes:
        state: ``training``, ``finished``, ``stopped``, ``failed`` or ``killed`` (no end was written and nobody trains).
        reason: why it failed or stopped, else empty.
        steps, total_steps: reached and planned; total_steps is None where a time limit decides and is not yet known.
        seconds: time spent in training; updated: time of the last write (seconds since the epoch).
        loss: of the last step; best_psnr: best validation PSNR in dB.
        colour: ``#rrggbb`` of its curve; shown: whether its curve shows; active: whether it is the active run.
    """

    run: Run
    state: str
    reason: str
    steps: int
    total_steps: int | None
    seconds: float
    updated: float
    loss: float | None
    best_psnr: float | None
    model_size: str
    header: Mapping[str, Any] = field(repr=False)
    colour: str = PALETTE[0]
    shown: bool = True
    active: bool = False


@dataclass
class RunHistory:
    """All records of a run sorted by kind; :meth:`update` reads what was added since."""

    run: Run
    header: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._reader = SummaryReader(self.run.summary)

    def update(self) -> bool:
        """Reads on; True when something changed."""
        records, anew = self._reader.poll()
        if anew:
            self.header, self.steps, self.validations, self.end = {}, [], [], None
        for record in records:
            if "run" in record:
                self.header, self.end = record["run"], None
            elif "end" in record:
                self.end = record
            elif "psnr" in record:
                self.validations.append(record)
            elif "loss" in record:
                self.steps.append(record)
        return bool(records) or anew

    def info(self) -> RunInfo:
        """The run's row of the table, with its display state from ``copycat.json``."""
        last = self.steps[-1] if self.steps else {}
        if trainer_lives(self.run):
            state, reason = "training", ""
        elif self.end is None:
            state, reason = "killed", "the trainer was killed; resuming continues from its last saved state"
        else:
            how = self.end.get("end", "failed")
            state = how if how in ("finished", "failed") else "stopped"
            reason = str(self.end.get("reason", ""))
        psnrs = [v["psnr"] for v in self.validations if isinstance(v.get("psnr"), (int, float))]
        display = Display.read(self.run.directory)
        return RunInfo(
            run=self.run,
            state=state,
            reason=reason,
            steps=int(last.get("step", 0)),
            total_steps=self.header.get("totalSteps"),
            seconds=float(last.get("time", 0.0)),
            updated=_modified(self.run.summary),
            loss=last.get("loss"),
            best_psnr=max(psnrs, default=None),
            model_size=str(self.header.get("modelSize", "")),
            header=self.header,
            colour=display.colour(self.run.name),
            shown=display.shown(self.run.name),
            active=display.active == self.run.name,
        )


def read_info(run: Run) -> RunInfo:
    """The run's row of the table, read from its files."""
    history = RunHistory(run)
    history.update()
    return history.info()


# -- what belongs to the display -------------------------------------------------------------------------------------


@dataclass
class Display:
    """``copycat.json`` of a Data Directory: the active run, colours, which curves show."""

    directory: Path
    active: str | None = None
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Display:
        """Reads the file; an absent or broken one means nothing was chosen yet."""
        value = read_json(directory / "copycat.json")
        runs = value.get("runs")
        entries = runs if isinstance(runs, dict) else {}
        active = value.get("active")
        return cls(
            directory,
            active if isinstance(active, str) else None,
            {name: entry for name, entry in entries.items() if isinstance(entry, dict)},
        )

    def write(self) -> None:
        """Replaces the file."""
        write_json(self.directory / "copycat.json", {"active": self.active, "runs": self.runs})

    def colour(self, name: str) -> str:
        """The run's colour; one of the palette by its name where none was chosen."""
        chosen = self.runs.get(name, {}).get("colour")
        if isinstance(chosen, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", chosen):
            return chosen
        return PALETTE[sum(name.encode()) % len(PALETTE)]

    def shown(self, name: str) -> bool:
        """Whether the run's curve shows."""
        return bool(self.runs.get(name, {}).get("shown", True))

    def set(self, name: str, **entry: Any) -> None:
        """Sets a run's ``colour`` or ``shown`` and writes the file."""
        self.runs.setdefault(name, {}).update(entry)
        self.write()


# -- one trainer at a time, and what others may ask of it ------------------------------------------------------------


class TrainerLock:
    """Held by the living trainer. The kernel drops it when the process dies, however it dies.

    Other machines, which do not see the kernel's lock, go by the heartbeat in the file.
    """

    def __init__(self, run: Run) -> None:
        """Takes the lock.

        Raises:
            RunError: another trainer lives; the message names its host and process.
        """
        self._path = run.file(".lock")
        self._stop = threading.Event()
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RunError(f"{run.directory}: the Data Directory cannot be written: {error.strerror}") from error
        holder = _holder(self._path)
        foreign = bool(holder) and holder.get("host") != socket.gethostname() and _is_fresh(self._path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = True
        except OSError:
            taken = False
        if foreign or not taken:
            os.close(self._descriptor)
            who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
            raise RunError(f"run {run.name} is being trained by {who}; stop that training first")
        self._beat()
        self._thread = threading.Thread(target=self._beat_on, name="copycat-heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time()})
        os.pwrite(self._descriptor, text.ljust(256).encode(), 0)

    def _beat_on(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                self._beat()

    def release(self, run: Run) -> None:
        """Gives the lock back; ``run`` says where its file is now (it may have been renamed)."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            os.unlink(run.file(".lock"))
        os.close(self._descriptor)


def _holder(path: Path) -> dict[str, Any]:
    return read_json(path)


def _is_fresh(path: Path) -> bool:
    return time.time() - _modified(path) < _STALE_SECONDS


def trainer_lives(run: Run) -> bool:
    """Whether a trainer holds the run: on this machine by its process, elsewhere by its heartbeat."""
    path = run.file(".lock")
    holder = _holder(path)
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return _is_fresh(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@dataclass(frozen=True)
class Request:
    """What somebody asks of the living trainer: ``stop``, ``finish`` or ``rename`` (to ``name``)."""

    action: str
    name: str = ""
    identifier: str = field(default_factory=lambda: secrets.token_hex(8))


def send_request(run: Run, request: Request) -> None:
    """Leaves a request for the run's trainer, which looks once a second."""
    value = {"action": request.action, "name": request.name, "id": request.identifier}
    write_json(run.file(".request"), value)


def take_request(run: Run) -> Request | None:
    """The trainer's side: the waiting request, which is taken away; None where there is none."""
    path = run.file(".request")
    if not path.exists():
        return None
    value = read_json(path)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return Request(str(value.get("action", "")), str(value.get("name", "")), str(value.get("id", "")))


def answer_request(run: Run, request: Request, refusal: str = "") -> None:
    """The trainer's side: says that the request was carried out, or why not."""
    write_json(run.file(".answer"), {"id": request.identifier, "refusal": refusal})


def stop(run: Run) -> bool:
    """Asks the run's trainer to save and stop; False when no trainer lives."""
    if not trainer_lives(run):
        return False
    send_request(run, Request("stop"))
    return True


def rename(run: Run, name: str, timeout: float = 15.0) -> Run:
    """Renames all files of a run, through its trainer when one lives.

    Raises:
        RunError: the name is not allowed or taken, or the trainer refused or did not answer in ``timeout`` seconds.
    """
    renamed = Run(run.directory, check_name(name))
    if name == run.name:
        return run
    if renamed.exists():
        raise RunError(f"there is already a run {name!r} in {run.directory}")
    if not trainer_lives(run):
        move_files(run, renamed)
        return renamed
    request = Request("rename", name)
    send_request(run, request)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for place in (renamed, run):
            answer = read_json(place.file(".answer"))
            if answer.get("id") == request.identifier:
                with contextlib.suppress(FileNotFoundError):
                    place.file(".answer").unlink()
                if answer.get("refusal"):
                    raise RunError(str(answer["refusal"]))
                return renamed
        time.sleep(0.05)
    with contextlib.suppress(FileNotFoundError):
        run.file(".request").unlink()
    raise RunError(f"the trainer of {run.name} did not answer within {timeout:g} s; it was not renamed")


def move_files(run: Run, renamed: Run) -> None:
    """Gives all files of a run their new name; the summary last, so that a reader sees one run at any time.

    Raises:
        RunError: the new name is taken, or a file cannot be renamed; what was renamed is put back.
    """
    if renamed.exists():
        raise RunError(f"there is already a run {renamed.name!r} in {run.directory}")
    moved: list[tuple[Path, Path]] = []
    try:
        for path in sorted(run.files(), key=lambda path: path == run.summary):
            target = path.with_name(renamed.name + path.name[len(run.name) :])
            os.rename(path, target)
            moved.append((path, target))
    except OSError as error:
        for path, target in reversed(moved):
            with contextlib.suppress(OSError):
                os.rename(target, path)
        raise RunError(f"{error.filename}: cannot be renamed: {error.strerror}") from error
    display = Display.read(run.directory)
    if run.name in display.runs or display.active == run.name:
        display.runs[renamed.name] = display.runs.pop(run.name, {})
        display.active = renamed.name if display.active == run.name else display.active
        display.write()


def delete(run: Run, remove: Callable[[Path], None] = os.unlink) -> None:
    """Deletes all files of a run.

    Raises:
        RunError: it is being trained, or a file cannot be removed.
    """
    if trainer_lives(run):
        raise RunError(f"run {run.name} is being trained; stop it before deleting it")
    try:
        for path in run.files():
            remove(path)
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be deleted: {error.strerror}") from error
    display = Display.read(run.directory)
    if display.runs.pop(run.name, None) is not None or display.active == run.name:
        display.active = None if display.active == run.name else display.active
        display.write()
