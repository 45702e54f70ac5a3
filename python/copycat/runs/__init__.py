"""The files of a run: one trainer writes them, many read them. Standard library only.

A run is a name, ``Training_YYMMDD_HHMMSS`` unless renamed, and all files of the Data Directory whose name is that
name followed by exactly one of these:

====================================  ==========================================================================
``_<step>.cat``, ``_best.cat``        checkpoints, deployable (format: :mod:`copycat.model.cat`)
``_live.cat``                         the newest weights, when somebody asked for them
``_<step>.png``                       contact sheet
``_<step>_preview.png``               preview
``.summary``                          JSON lines, appended to during training (below)
``.ost``                              resume state (format: :mod:`copycat.training.checkpoint`)
``.json``                             settings and provenance (:mod:`copycat.runs.provenance`)
``.lock``                             held by the living trainer: host, pid, heartbeat
``.request``, ``.answer``             JSON lines: requests to the living trainer, and its answers
``.unpainted``                        Ground Truth files that are copies of the plate until somebody paints them
``.review``, ``_review.png``          how far to trust each frame (:mod:`copycat.inference.review`), and the worst
``.renaming``                         the new name, while the files of the run are renamed
``_input.<frame>.exr``,               frames that a compositing host handed over
``_groundTruth.<frame>.exr``,
``_preview.<frame>.exr``
====================================  ==========================================================================

So ``shot`` and ``shot_v2`` never mix. Every file is written whole under a temporary name, synced and renamed; only
``.summary`` is appended to.

Lines of a ``.summary``, each a JSON object:

* the header ``{"run": {...}}``: ``totalSteps``, ``stages`` as ``[[level, first step, last step], ...]`` (null
  where a time limit decides), pairs, batch, channels, ``modelSize``, device, processes, start time, and the last change
  of the data set as a sentence (``change``). A resume, another plan and a change append a further header.
* a step ``{"step": 12, "loss": 0.031, "parts": {"l1": .., "l2": ..}, "level": 4, "lr": 1e-3, "time": 3.2}``, time in
  seconds of training so far; ``"rate"`` (steps per second) and ``"memory"`` (peak bytes on the GPU) now and then.
* a validation ``{"step": 1000, "psnr": 38.2}``.
* a change of the data set ``{"step": 512, "frames": {"added": [..], "changed": [..], "removed": [..], "pairs": 5}}``:
  the names of the Ground Truth files, and the number of pairs from the next step on.
* a warning ``{"step": 1000, "warning": "..."}``; those before the first step are in the header's ``warnings``,
  and what needs no action in its ``notes``.
* the end ``{"end": "finished" | "stopped" | "interrupted" | "terminated" | "failed", "reason": "...", "step": n}``.

Readers ignore a torn last line. A resume first drops the lines past the step it resumes from.

``copycat.json`` of the Data Directory holds the active run, and each run's colour and whether its curve shows.

:mod:`copycat.plots.live` follows the runs of a directory, and :mod:`copycat.plots.curves` prepares their curves.
"""

from __future__ import annotations

from copycat.runs.asking import ACTIONS, ask
from copycat.runs.display import PALETTE, Display
from copycat.runs.files import DISPLAY_FILE, Run, check_name, new_run
from copycat.runs.finding import find_run, find_runs, model_file
from copycat.runs.history import COLUMNS, RunHistory, RunInfo, StepColumns, glance, read_info
from copycat.runs.model_head import head_of, makes_mattes
from copycat.runs.provenance import frames_today, read_provenance, remapped, stored_frames, write_provenance
from copycat.runs.renaming import delete, move_files, rename
from copycat.runs.requests import Request, answer_request, finish, send_request, stop, take_request
from copycat.runs.summary import SummaryReader, SummaryWriter
from copycat.runs.trainer_lock import HEARTBEAT_SECONDS, TrainerLock, trainer_lives
from copycat.runs.writing import RunError, open_regular, read_json, read_regular, write_json, write_whole

__all__ = [
    "ACTIONS",
    "COLUMNS",
    "DISPLAY_FILE",
    "HEARTBEAT_SECONDS",
    "PALETTE",
    "Display",
    "Request",
    "Run",
    "RunError",
    "RunHistory",
    "RunInfo",
    "StepColumns",
    "SummaryReader",
    "SummaryWriter",
    "TrainerLock",
    "answer_request",
    "ask",
    "check_name",
    "delete",
    "find_run",
    "find_runs",
    "finish",
    "frames_today",
    "glance",
    "head_of",
    "makes_mattes",
    "model_file",
    "move_files",
    "new_run",
    "open_regular",
    "read_info",
    "read_json",
    "read_provenance",
    "read_regular",
    "remapped",
    "rename",
    "send_request",
    "stop",
    "stored_frames",
    "take_request",
    "trainer_lives",
    "write_json",
    "write_provenance",
    "write_whole",
]
