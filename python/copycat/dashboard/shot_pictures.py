"""Serves pictures of shots: frames of a run's own plate, Ground Truth and result, and nothing else.

``GET /shot/RUN/PAIR/KIND/FRAME`` answers with a PNG, which the header ``copycat-picture`` describes; with 204 where the
browser has it already or asked for another one meanwhile; else with a sentence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Path as PathPart
from fastapi import Query
from fastapi.responses import PlainTextResponse, Response

from copycat.dashboard.shot_process import ShotProcess, Weights, version
from copycat.errors import CopycatError
from copycat.runs import Run, RunError
from copycat.sequence.movie import file_of
from copycat.shot_view.shot import Shot

ADDRESS = "/shot/{name}/{index}/{kind}/{frame}"
SMALL = 960  # pixels: enough for a playing picture

Kind = Literal["input", "truth", "rendered", "result"]
Index = Annotated[int, PathPart(ge=0, lt=10_000)]
Frame = Annotated[int, PathPart(gt=-(10**9), lt=10**9)]
Step = Annotated[int | None, Query(ge=0, lt=10**12)]
Viewer = Annotated[str, Query(pattern=r"^[a-z0-9-]{0,40}$")]
Have = Annotated[str, Query(max_length=300)]


def pictures(directory: Path, process: ShotProcess, weights: Weights) -> Callable[..., Awaitable[Response]]:
    """The handler of :data:`ADDRESS`.

    Args:
        directory: the Data Directory; only frames of its runs are sent.
        process: makes the pictures.
        weights: finds the newest.
    """

    async def picture(
        name: str,
        index: Index,
        kind: Kind,
        frame: Frame,
        step: Step = None,
        small: bool = False,
        have: Have = "",
        viewer: Viewer = "",
    ) -> Response:
        try:
            run = Run(directory, name)
        except RunError:
            return PlainTextResponse("There is no such run.", 404)
        try:
            shot = await asyncio.to_thread(Shot.of, run, index)
            path = await asyncio.to_thread(shot.file, "input" if kind == "result" else kind, frame)
            model: Path | None = None
            if kind == "result":
                model = await weights.of(run, step, have)
                if model is None:
                    return Response(status_code=204)
            stamp = version(model or file_of(path))
            if have and stamp == have:
                return Response(status_code=204)
            channels = shot.input_channels if kind == "input" else shot.ground_truth_channels
            job = {"path": str(path), "channels": channels, "view": shot.view, "width": SMALL if small else 0}
            more = {"do": "result", "model": str(model)} if model else {"do": "picture"}
            answer = await process.picture({**job, **more}, viewer)
        except CopycatError as error:
            return PlainTextResponse(str(error), 422)
        if answer is None:
            return Response(status_code=204)
        facts, data = answer
        if model:
            weights.used(run, facts)
        shown = {key: facts[key] for key in ("width", "height", "matte", "step", "seconds", "cpu_seconds")} | {
            "version": stamp
        }
        # Named identity, or the server would compress it once more.
        headers = {"copycat-picture": json.dumps(shown), "cache-control": "no-store", "content-encoding": "identity"}
        return Response(data, media_type="image/png", headers=headers)

    return picture
