"""Applies models to pictures in shared memory: chooses the checkpoint and the device."""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from copycat.errors import CopycatError
from copycat.runs import Run, RunError
from copycat.sequence.colour import from_integers
from copycat.settings.tables import InferenceSettings
from copycat.worker import active_run
from copycat.worker.buffers import picture, store
from copycat.worker.host_callbacks import resolve
from copycat.worker.host_request import Answer, Handler, HostRequest, Later

if TYPE_CHECKING:
    from torch import Tensor

Loader = Callable[[str, str, bool], Any]
"""(path, device, half precision) -> a model, called as :class:`copycat.inference.model.Model` is."""

_MODELS_KEPT = 4
_FRAMES = 2  # in flight on a GPU: MOST_FRAMES of model/frames_in_flight, which imports torch
_CANCEL_SECONDS = 0.05
_CHECKPOINT = re.compile(r"(?P<run>.+)_(?P<step>[0-9]+)\.cat")


@dataclass
class _Loaded:
    model: Any
    stamp: tuple[int, int, int]


class Renderer:
    """The models in use. For the thread that renders alone, which on a GPU begins the next frame before one is done."""

    def __init__(self, status: Callable[[HostRequest], dict[str, Any]], load: Loader | None = None) -> None:
        """``status`` answers with the active run's status; ``load`` reads a model, the real one by default."""
        self._status = status
        self._load = load or _load_real
        self._models: OrderedDict[tuple[str, str, bool], _Loaded] = OrderedDict()
        self._loads = 0
        self._lock = threading.Lock()  # of the models
        self._calling = threading.Lock()
        self._free = threading.Semaphore(_FRAMES)
        self._in_flight = ThreadPoolExecutor(_FRAMES, "copycat-flight")

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "render": self.render,
            "preview": self.preview,
            "callback": call_back,
            "purge": self.purge,
        }

    def purge(self, request: HostRequest) -> dict[str, Any]:
        """Frees the models; a later request reads its own again."""
        with self._lock:
            self._models.clear()
        gc.collect()
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return {}

    def render(self, request: HostRequest) -> Answer:
        """Applies the model of an Inference effect."""
        settings = active_run.with_full_paths(InferenceSettings.from_dict(request.settings))
        path = choose_model(settings.model_file, settings.checkpoint)
        return self._begin(request, settings, path, lambda answer: answer)

    def preview(self, request: HostRequest) -> Answer:
        """Applies the newest checkpoint of the active run; the picture stays as it is where there is none."""
        chosen = request.settings
        run = active_run.find(chosen)
        checkpoints = run.checkpoints() if run else []
        if not checkpoints:
            return self._status(request)
        gpu = {name: chosen[name] for name in ("useGPUIfAvailable", "gpuIndex") if name in chosen}
        settings = InferenceSettings.from_dict(gpu)
        return self._begin(request, settings, checkpoints[-1][1], lambda _: self._status(request))

    def _begin(
        self,
        request: HostRequest,
        settings: InferenceSettings,
        path: Path,
        answer: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> Answer:
        """Renders a frame; on a GPU in a thread of its own, as soon as fewer than two are in flight."""
        device, warning = _device(settings, self._load is _load_real)

        def work() -> dict[str, Any]:
            return answer(self._apply(request, settings, path, device, warning))

        if not device.startswith("cuda"):
            return work()
        while not self._free.acquire(timeout=_CANCEL_SECONDS):
            if request.cancelled.is_set():
                raise CopycatError("cancelled")
        return Later(self._take_off, work)

    def _take_off(self, send: Callable[[], None]) -> None:
        self._in_flight.submit(self._fly, send)

    def _fly(self, send: Callable[[], None]) -> None:
        try:
            send()
        finally:
            self._free.release()

    def _apply(
        self, request: HostRequest, settings: InferenceSettings, path: Path, device: str, warning: str
    ) -> dict[str, Any]:
        calls = resolve(settings)
        frame = request.message.get("frame")

        def call(name: str, **details: Any) -> None:
            with self._calling:  # a user's function need not stand two threads
                calls.call(name, model=str(path), frame=frame, **details)

        call("before_frame_render")
        try:
            answer = self._compute(request, settings, path, device, warning)
        except CopycatError as error:
            call("render_progress", progress=None, error=str(error))
            raise
        call("after_frame_render")
        call("render_progress", progress=1.0, error=None)
        return answer

    def _compute(
        self, request: HostRequest, settings: InferenceSettings, path: Path, device: str, warning: str
    ) -> dict[str, Any]:
        with self._lock:
            model = self._model(path, settings, device)
        memory = request.buffers.get(request.message)
        if device.startswith("cuda"):
            model.share(memory)
        pixels, names = picture(memory, request.message.get("picture"))
        indices_out = _indices(model.channels_out, names, path, "makes")
        in_place = _planes_in_place(pixels, indices_out)
        warnings = [warning] if warning else []
        started = time.perf_counter()
        output = model(
            _planes(pixels, _indices(model.channels_in, names, path, "takes")),
            tile_size=settings.tile_size,
            tile_overlap=settings.tile_overlap,
            bounds=_bounds(request.message["picture"]),
            scale=request.message.get("scale"),
            cancel=request.cancelled.is_set,
            warn=lambda sentence: warnings.append(f"frame {request.message.get('frame')}: {sentence}"),
            out=in_place,
        )
        seconds = time.perf_counter() - started
        if in_place is None:
            store(output.cpu().permute(1, 2, 0).numpy(), pixels, indices_out)
        request.spent.append(output)
        return {
            "model": str(path),
            "channels_in": list(model.channels_in),
            "channels_out": list(model.channels_out),
            "loads": self._loads,
            "seconds": seconds,
            "warning": "; ".join(warnings),
        }

    def _model(self, path: Path, settings: InferenceSettings, device: str) -> Any:
        """The model, read anew when its file has changed."""
        key = (str(path), device, settings.half_precision)
        try:
            status = path.stat()
        except OSError as error:
            raise CopycatError(f"{path}: the Model File cannot be read: {error.strerror}") from None
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        kept = self._models.get(key)
        if kept is None or kept.stamp != stamp:
            self._models.pop(key, None)
            kept = _Loaded(self._load(str(path), device, settings.half_precision), stamp)
            self._loads += 1
            self._models[key] = kept
            while len(self._models) > _MODELS_KEPT:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return kept.model


def call_back(request: HostRequest) -> dict[str, Any]:
    """Calls a callback that belongs to the whole render."""
    name = request.text("name")
    if name not in ("before_render", "after_render"):
        raise CopycatError(f"there is no callback {name!r} of a whole render")
    settings = InferenceSettings.from_dict(request.settings)
    resolve(settings).call(name, model=settings.model_file, frame=request.message.get("frame"), error=None)
    return {}


def _load_real(path: str, device: str, half_precision: bool) -> Any:
    from copycat.inference.model import load

    return load(path, device, half_precision)


def _device(settings: InferenceSettings, real: bool) -> tuple[str, str]:
    if not real:
        return "cpu", ""
    from copycat.data.devices import choose_device

    device, warning = choose_device(settings.use_gpu_if_available, settings.gpu_index)
    return str(device), warning


def choose_model(model_file: str, checkpoint: int) -> Path:
    """The .cat that the knobs Model File and Checkpoint name.

    Args:
        model_file: a .cat, or a Data Directory, which stands for the newest checkpoint of its active run.
        checkpoint: 0 for the newest checkpoint of the run that the file belongs to, else the last one with at most
            so many steps. A file that is no numbered checkpoint stands for itself.

    Raises:
        CopycatError: there is none.
    """
    if not model_file:
        raise CopycatError("Model File is empty: choose the .cat file of a trained model")
    path = active_run.full_path("Model File", model_file)
    if os.path.isdir(path):
        run = active_run.find({"dataDirectory": str(path)})
        if run is None or not run.checkpoints():
            raise CopycatError(f"{path}: the Data Directory holds no checkpoint yet: choose a .cat file")
    else:
        match = _CHECKPOINT.fullmatch(path.name)
        if match is None:
            return path
        try:
            run = Run(path.parent, match["run"])
        except RunError:
            return path
        if not run.checkpoints():
            return path
    fitting = [file for step, file in run.checkpoints() if not checkpoint or step <= checkpoint]
    if not fitting:
        raise CopycatError(f"run {run.name} has no checkpoint with at most {checkpoint} steps")
    return fitting[-1]


def _bounds(described: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """x1, y1, x2, y2 of the picture in the host's pixels, origin bottom left; None if an older plugin does not say."""
    if "x" not in described or "y" not in described:
        return None
    x, y = int(described["x"]), int(described["y"])
    return x, y, x + int(described["width"]), y + int(described["height"])


def _indices(channels: tuple[str, ...], names: tuple[str, ...], path: Path, verb: str) -> list[int]:
    """Which components of the picture are the channels: by name, else by order where their number is the same."""
    if all(channel in names for channel in channels):
        return [names.index(channel) for channel in channels]
    if len(channels) == len(names) or (len(names) == 4 and len(channels) == 3):
        return list(range(len(channels)))
    if len(channels) == 1 and "A" in names:
        return [names.index("A")]
    raise CopycatError(
        f"{path}: the model {verb} the channels {', '.join(channels)}, but the clip has {', '.join(names)}"
    )


def _planes_in_place(pixels: NDArray[Any], indices: list[int]) -> Tensor | None:
    """``[C, H, W]`` in the picture's own memory; None where its depth or their order does not allow it."""
    import torch

    if pixels.dtype != np.float32 or indices != list(range(indices[0], indices[0] + len(indices))):
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)[indices[0] : indices[0] + len(indices)]


def _planes(pixels: NDArray[Any], indices: list[int]) -> Tensor:
    """``[C, H, W]`` of the picture, without a copy where its depth and its order allow."""
    import torch

    pixels = from_integers(pixels)  # torch computes nothing in uint16
    shared = _planes_in_place(pixels, indices)
    if shared is not None:
        return shared
    return torch.from_numpy(pixels).permute(2, 0, 1)[indices].float()
