"""Ground Truth files that are still copies of the plate, waiting to be painted. Standard library only.

The page lays a copy of the plate's frame where its Ground Truth belongs. Until somebody saves it, it teaches nothing,
and a training leaves it out. The ``.unpainted`` of the run that the copy was made for is a JSON object of paths, each
with size and time of the copy: a file that differs from these was painted.
"""

from __future__ import annotations

import os
from pathlib import Path

from copycat.runs.files import Run, regular_files
from copycat.runs.writing import read_json, write_json

_SUFFIX = ".unpainted"


def note_unpainted(run: Run, path: Path, copy: Path) -> None:
    """Notes that ``path`` is about to become the file ``copy``, a copy of the plate.

    Raises:
        RunError: the note cannot be written.
        OSError: the copy is not there.
    """
    noted = {name: stamp for name, stamp in read_json(run.file(_SUFFIX)).items() if _stamp(Path(name)) == stamp}
    write_json(run.file(_SUFFIX), {**noted, str(path.absolute()): _existing_stamp(copy)})


def unpainted_files(directory: Path) -> set[Path]:
    """The files that any run of a Data Directory has noted and nobody has painted since."""
    noted: dict[str, object] = {}
    for name in regular_files(directory):
        if name.endswith(_SUFFIX):
            noted.update(read_json(directory / name))
    return {Path(name) for name, stamp in noted.items() if _stamp(Path(name)) == stamp}


def _stamp(path: Path) -> list[int]:
    try:
        return _existing_stamp(path)
    except (OSError, ValueError):
        return []


def _existing_stamp(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]
