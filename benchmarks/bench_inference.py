"""How fast is a frame rendered? Frames per second of compute, and of a sequence with its EXR files.

    python -m benchmarks.bench_inference [--device cpu|cuda] [--size Small|Medium|Large] [--resolutions HD,UHD]
        [--precisions half,float32] [--frames N] [--threads N] [--autotune] [--products] [--json FILE]

On a CPU, onnxruntime renders the exported model in float32 beside it, whole frames on as many threads.

Compute is a frame in memory, whole and in tiles, in float32 and in half precision; each row runs in a process of its
own, so that its peak memory is its own. Shared memory is RGBA as a host hands it over, read and written in place, as
many frames at a time as the device takes, and compared with the compute alone. The sequence is N half float EXR files
(ZIP) read, rendered and written, and is compared with the slower of its two parts: the compute alone, and the same
files read and written alone. Weights and pictures are random; the arithmetic does not depend on them.
"""

import argparse
import importlib
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from copycat import ops
from copycat.data.devices import device_name
from copycat.data.host_memory import HostMemory
from copycat.inference.export import export
from copycat.inference.model import Model
from copycat.inference.render import infer
from copycat.model import cat
from copycat.model.network import ROWS
from copycat.sequence import Writer, read_frames_parallel, read_info, write_frame

from benchmarks import record
from benchmarks.bench_training import with_products

RESOLUTIONS = {"tiny": (64, 96), "960x540": (540, 960), "HD": (1080, 1920), "UHD": (2160, 3840)}
TILE = 1024
CHANNELS = ("R", "G", "B")


def random_model(folder: Path, size: str) -> Path:
    """A .cat without zero weights."""
    encoding = ops.Encoding((0.0,) * 3, (0.5,) * 3, (0.29,) * 3)
    header = cat.ModelHeader(
        row=ROWS[size],
        channels_in=CHANNELS,
        channels_out=CHANNELS,
        residual=(0, 1, 2),
        input_encoding=encoding,
        target_encoding=encoding,
        settings={},
        data_hash="",
    )
    torch.manual_seed(0)
    network = header.network()
    weights = {name: value + 0.01 * torch.randn_like(value) for name, value in network.state_dict().items()}
    path = folder / "model.cat"
    cat.save(path, header, weights)
    return path


def picture(resolution: str, seed: int = 0) -> np.ndarray:
    """[H, W, 3] float32."""
    return np.random.default_rng(seed).random((*RESOLUTIONS[resolution], 3), np.float32)


def median_seconds(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median wall and CPU seconds (all threads) of a call, after a warm-up call."""
    times = []
    for _ in range(rounds + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*times[1:], strict=True)
    return statistics.median(walls), statistics.median(cpus)


def compute(model: Model, resolution: str, tile_size: int, rounds: int) -> dict[str, float]:
    """One frame, from memory of the device to memory of the device."""
    on_device = torch.from_numpy(picture(resolution)).movedim(-1, 0).to(model.device)

    def frame() -> None:
        model(on_device, tile_size=tile_size)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, cpu = median_seconds(frame, rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if model.device.type == "cuda":
        before, peak = 0, torch.cuda.max_memory_allocated(model.device)
    return {"seconds": wall, "cpu_seconds": cpu, "gigabytes": (peak - before) / 1e9}


def shared(model: Model, resolution: str, rounds: int) -> dict[str, float]:
    """Seconds per frame in a host's memory: as many at a time as the device takes, one by one, the compute alone."""
    height, width = RESOLUTIONS[resolution]

    def planes() -> torch.Tensor:
        memory = HostMemory(-1, height * width * 16)
        model.share(memory)
        pixels = np.frombuffer(memory, np.float32).reshape(height, width, 4)
        pixels[..., :3] = picture(resolution)
        return torch.from_numpy(pixels).permute(2, 0, 1)[:3]

    def frames(source: torch.Tensor, out: torch.Tensor, count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            model(source, out=out)
        return (time.perf_counter() - started) / count

    pairs = [(planes(), planes()) for _ in range(model.frames_in_flight)]
    for source, out in pairs:
        frames(source, out, 1)
    alone = frames(*pairs[0], rounds)
    started = time.perf_counter()
    with ThreadPoolExecutor(len(pairs)) as pool:
        list(pool.map(lambda pair: frames(*pair, rounds), pairs))
    together = (time.perf_counter() - started) / (rounds * len(pairs))
    return {"seconds": together, "alone": alone, "compute": compute(model, resolution, 0, rounds)["seconds"]}


def peer(path: Path, resolution: str, threads: int, rounds: int) -> dict[str, float]:
    """One frame by onnxruntime, from memory to memory."""
    onnxruntime = importlib.import_module("onnxruntime")  # machines with a GPU may lack it
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    program = export(path, path.with_suffix(".onnx"))
    session = onnxruntime.InferenceSession(program, options, providers=["CPUExecutionProvider"])
    planes = np.ascontiguousarray(picture(resolution).transpose(2, 0, 1)[None])
    wall, cpu = median_seconds(lambda: session.run(None, {"input": planes}), rounds)
    return {"seconds": wall, "cpu_seconds": cpu}


def sequence(model: Model, resolution: str, frames: int, folder: Path) -> dict[str, float]:
    """Seconds per frame: all together, compute alone, files alone."""
    plate = [folder / f"plate.{frame:04d}.exr" for frame in range(1, frames + 1)]
    for seed, path in enumerate(plate):
        write_frame(path, picture(resolution, seed).astype(np.float16), CHANNELS, compression="zip")
    output = folder / "out.%04d.exr"
    outputs = [folder / f"out.{frame:04d}.exr" for frame in range(1, frames + 1)]
    infer(model, folder / "plate.%04d.exr", output, frames=[1])  # warm up

    started = time.perf_counter()
    infer(model, folder / "plate.%04d.exr", output)
    together = time.perf_counter() - started

    compute_alone = compute(model, resolution, 0, 2)["seconds"]

    info = read_info(plate[0])
    started = time.perf_counter()
    with Writer() as writer:
        for path, frame in zip(outputs, read_frames_parallel(plate, list(CHANNELS)), strict=True):
            writer.submit(path, np.asarray(frame.pixels, np.float32), CHANNELS, like=info)
    files_alone = time.perf_counter() - started
    return {"seconds": together / frames, "compute": compute_alone, "files": files_alone / frames}


def measured(options: argparse.Namespace, **changes: object) -> dict[str, float]:
    """A row, measured in a process of its own."""
    parameters = {**vars(options), **changes}
    row = json.dumps({key: value for key, value in parameters.items() if key not in _OWN})
    command = [sys.executable, "-m", "benchmarks.bench_inference", "--row", row]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


_OWN = ("row", "json", "resolutions", "precisions")
_PRECISION = {True: "half", False: "float32"}


def one_row(parameters: dict[str, object]) -> dict[str, float]:
    """The work of a row's process."""
    torch.set_num_threads(int(str(parameters["threads"])))
    torch.backends.cudnn.benchmark = bool(parameters["autotune"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = random_model(folder, str(parameters["size"]))
        if parameters["peer"]:
            return peer(
                path, str(parameters["resolution"]), int(str(parameters["threads"])), int(str(parameters["rounds"]))
            )
        model = Model(path, torch.device(str(parameters["device"])), bool(parameters["half"]))
        if parameters["products"]:
            with_products(model.network)
        if parameters["files"] == "shared":
            return shared(model, str(parameters["resolution"]), int(str(parameters["rounds"])))
        if parameters["files"]:
            return sequence(model, str(parameters["resolution"]), int(str(parameters["frames"])), folder)
        return compute(
            model, str(parameters["resolution"]), int(str(parameters["tile"])), int(str(parameters["rounds"]))
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="Medium")
    parser.add_argument("--resolutions", default="HD,UHD")
    parser.add_argument("--precisions", default="half,float32")
    parser.add_argument("--frames", type=int, default=8, help="of the sequence; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3, help="frames whose median is taken")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--autotune", action="store_true", help="let cuDNN try its algorithms")
    parser.add_argument("--products", action="store_true", help="1x1 convolutions as matrix products")
    record.add_option(parser)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(one_row(json.loads(options.row))))
        return
    device = device_name(torch.device(options.device))
    print(f"{device}, torch {torch.__version__}, {options.size}, {options.threads} threads")
    print("resolution precision    tiles  frames/s  CPU s/frame  peak GB")
    rows: list[record.Row] = []

    def keep(row: record.Row, text: str) -> None:
        rows.append({"device": options.device, "size": options.size, "threads": options.threads, **row})
        print(text, flush=True)
        record.write(f"bench_inference-{options.device}", rows, options.json)

    halves = [name == "half" for name in options.precisions.split(",")]
    cases = list(itertools.product(options.resolutions.split(","), halves))
    for (resolution, half), tile in itertools.product(cases, (0, TILE)):
        common = {"resolution": resolution, "half": half, "tile": tile}
        found = measured(options, **common, files=False, peer=False)
        keep(
            {**common, **found},
            f"{resolution:10} {_PRECISION[half]:9} {tile or 'whole':>8} {1 / found['seconds']:9.3f} "
            f"{found['cpu_seconds']:12.2f} {found['gigabytes']:8.2f}",
        )
        if options.device == "cpu" and not half and not tile:
            by_peer = measured(options, **common, files=False, peer=True)
            keep(
                {**common, "tool": "onnxruntime", **by_peer, "ratio": by_peer["cpu_seconds"] / found["cpu_seconds"]},
                f"{resolution:10} onnxruntime     {1 / by_peer['seconds']:9.3f} {by_peer['cpu_seconds']:12.2f}, "
                f"{by_peer['cpu_seconds'] / found['cpu_seconds']:.2f} times as many CPU-seconds",
            )
    for resolution, half in cases:
        common = {"resolution": resolution, "half": half}
        found = measured(options, **common, tile=0, files="shared", peer=False)
        keep(
            {**common, "shared": True, **found},
            f"{resolution:10} {_PRECISION[half]:9}   shared {1 / found['seconds']:9.3f}   "
            f"one by one {1 / found['alone']:.3f}, compute alone {1 / found['compute']:.3f}: "
            f"{found['compute'] / found['seconds']:.0%} of it",
        )
    for resolution, half in cases if options.frames else ():
        common = {"resolution": resolution, "half": half}
        found = measured(options, **common, tile=0, files=True, peer=False)
        slower = max(found["compute"], found["files"])
        keep(
            {**common, "sequence": True, **found},
            f"{resolution:10} {_PRECISION[half]:9} sequence {1 / found['seconds']:9.3f}   "
            f"compute alone {1 / found['compute']:.3f}, files alone {1 / found['files']:.3f}: "
            f"{slower / found['seconds']:.0%} of the slower",
        )


if __name__ == "__main__":
    main()
