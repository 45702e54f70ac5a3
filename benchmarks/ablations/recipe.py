"""Which loss, rate, schedule and sampling give the best picture for the same CPU time?

``python -m benchmarks.ablations.recipe t1 --budget 120`` trains every variant of the table below with the package's
own parts for this many CPU-seconds of one thread (CPU time, so that a busy machine does not change the result much) and
prints PSNR on the held-out frames. ``--only NAME`` picks variants, ``--seeds`` repeats them. The other tasks are the
real shots of ``benchmarks.shots`` (``--shots SHOTS``). ``inside`` is the PSNR inside the repaired area.
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from copycat.data.dataset import load_dataset
from copycat.model import cat, tiles
from copycat.model.network import ROWS, Network, Row
from copycat.model.starting_point import starting_point
from copycat.sequence import ImageSequence, format_frames, read_frame, read_info
from copycat.sequence.colour import srgb
from copycat.sequence.pairs import Pair, find_frames
from copycat.settings.tables import Settings
from copycat.training import crops, losses, optimiser, schedule
from copycat.training import weights as parameters
from copycat.training.composites import Composites, are_used, with_room
from copycat.training.step import Learner
from torch import Tensor

from benchmarks import edge_loss, record, whole_shot
from benchmarks.flicker import Frame, flicker
from benchmarks.score import psnr8
from benchmarks.shots import SHOTS
from benchmarks.tasks import NEIGHBOURS, build, build_frames


@dataclass(frozen=True)
class Variant:
    """One recipe: knobs, and numbers that no knob sets.

    Attributes:
        knobs: fields of Settings.
        row: the network's row; None for that of the Model Size.
        rate: learning rate; decay: share of the time, at the end, in which it falls to zero.
        average: decay of the weights' moving average.
        betas: of AdamW; momentum, step_size: of Muon; muon: Muon for the inner matrices, else AdamW for all weights.
        log: train on the logarithm of a crop's error, else on the error itself.
        floor: of the logarithm.
        stages: shares of the time at the levels 4, 2 and 1.
        planned: length of the schedule in budgets; above 1 the training is stopped early.
        finish: spend the last fifth of a training that is stopped early on finishing it.
        learner: makes the steps.
        unpainted: makes a data set of unpainted frames; share: of the crops that come from these; begin: from which
            share of the time on.
    """

    knobs: dict[str, object]
    row: Row | None = None
    rate: float = schedule.LEARNING_RATE
    decay: float = schedule.DECAY_SHARE
    average: float = parameters.AVERAGE_DECAY
    betas: tuple[float, float] = optimiser.BETAS
    muon: bool = True
    momentum: float = optimiser.MOMENTUM
    step_size: float = optimiser.STEP_SIZE
    log: bool = True
    floor: float = 1e-3
    stages: tuple[float, float, float] = (0.1, 0.2, 0.7)
    planned: float = 1.0
    finish: bool = False
    learner: type[Learner] = Learner
    unpainted: whole_shot.Spread | None = None
    share: float = 0.2
    begin: float = 0.0


_NEIGHBOURS = 5

BASE = Variant({"model_size": "Small", "crop_size": 128})


def _with(**knobs: object) -> Variant:
    return replace(BASE, knobs={**BASE.knobs, **knobs})


VARIANTS = {
    "chosen": BASE,
    "l1 + 4 l2, no log, rate 1e-3": replace(_with(l1_weight=1, l2_weight=4), log=False, rate=1e-3),
    "l1 + 4 l2, no log": replace(_with(l1_weight=1, l2_weight=4), log=False),
    "l1 + 16 l2, no log": replace(_with(l1_weight=1, l2_weight=16), log=False),
    "log of l1 + 16 l2": _with(l1_weight=1, l2_weight=16),
    "floor 1e-6": replace(BASE, floor=1e-6),
    "floor 1e-4": replace(BASE, floor=1e-4),
    "l2, no log": replace(BASE, log=False),
    "rate 1e-3": replace(BASE, rate=1e-3),
    "rate 4e-3": replace(BASE, rate=4e-3),
    "decay in the last fifth": replace(BASE, decay=0.2),
    "decay in the last 60 %": replace(BASE, decay=0.6),
    "average 0.98": replace(BASE, average=0.98),
    "average 0.995": replace(BASE, average=0.995),
    "AdamW for all weights": replace(BASE, muon=False),
    "Muon's momentum 0.8": replace(BASE, momentum=0.8),
    "Muon's momentum 0.95": replace(BASE, momentum=0.95),
    "half of Muon's steps": replace(BASE, step_size=optimiser.STEP_SIZE / 2),
    "twice Muon's steps": replace(BASE, step_size=optimiser.STEP_SIZE * 2),
    "AdamW's second beta 0.999": replace(BASE, betas=(0.9, 0.999)),
    "AdamW's second beta 0.95": replace(BASE, betas=(0.9, 0.95)),
    "a quarter of the crops at differences": _with(difference_share=0.25),
    "three quarters at differences": _with(difference_share=0.75),
    "no crops at differences": _with(difference_share=0.0),
    "crop 64": _with(crop_size=64),
    "crop 256": _with(crop_size=256),
    "batch 2": _with(batch_size_type="Manual", batch_size=2),
    "Clean Plate": _with(clean_plate="On"),
    "Clean Plate Off": _with(clean_plate="Off"),
    "Matte Off": _with(matte="Off"),
    "Composites On": _with(composites="On"),
    "Composites Off": _with(composites="Off"),
    "labels spread by flow": replace(BASE, unpainted=whole_shot.labelled_by_flow),
    "labels spread by flow, a third": replace(BASE, unpainted=whole_shot.labelled_by_flow, share=1 / 3),
    "labels of a teacher": replace(BASE, unpainted=whole_shot.unlabelled, learner=whole_shot.Taught, begin=0.5),
    "stability": replace(BASE, learner=whole_shot.Steady),
    "2 crops per pair": _with(crops_per_pair=2),
    "flips": _with(flip_probability=0.5, flop_probability=0.5),
    "flops": _with(flop_probability=0.5),
    "gain": _with(gain_probability=0.5),
    "contrast": _with(contrast_probability=0.5),
    "saturation": _with(saturation_probability=0.5),
    "gain, contrast and saturation": _with(gain_probability=0.2, contrast_probability=0.2, saturation_probability=0.2),
    "stages of 1/3, 1/3, 1/3": replace(BASE, stages=(1 / 3, 1 / 3, 1 / 3)),
    "full resolution for the whole time": replace(BASE, stages=(0.0, 0.0, 1.0)),
    "stopped at half of the plan": replace(BASE, planned=2.0),
    "stopped at half of the plan, and finished": replace(BASE, planned=2.0, finish=True),
    "stopped at a tenth of the plan": replace(BASE, planned=10.0),
    "stopped at a tenth of the plan, and finished": replace(BASE, planned=10.0, finish=True),
    "Initial Weights Deblur": _with(initial_weights="Deblur"),
    "Initial Weights Upscale": _with(initial_weights="Upscale"),
    "Initial Weights Human Matting": _with(initial_weights="Human Matting"),
    "Initial Weights Human Matting, edges": replace(_with(initial_weights="Human Matting"), learner=edge_loss.Edges),
    "three scales, 1, 2, 2 | 2 | 1, 1, 1 blocks, no widest": replace(BASE, row=Row(32)),
    "three scales, no widest": replace(BASE, row=Row(32, (1, 1, 1), 1)),
    "three scales, widest 128": replace(BASE, row=Row(32, (1, 1, 1), 1, widest=128)),
    "three scales, widest 64": replace(BASE, row=Row(32, (1, 1, 1), 1, widest=64)),
    "two scales": replace(BASE, row=Row(32, (1, 1), 1, (1, 1))),
    "four scales, widest 128": replace(BASE, row=Row(32, (1, 1, 1, 1), 1, (1, 1, 1, 1), widest=128)),
    "four scales, widest 64": replace(BASE, row=Row(32, (1, 1, 1, 1), 1, (1, 1, 1, 1), widest=64)),
    "five scales, widest 64": replace(BASE, row=Row(32, (1,) * 5, 1, (1,) * 5, widest=64)),
    "Medium": _with(model_size="Medium"),
    "Large": _with(model_size="Large"),
    "Medium, Initial Weights Deblur": _with(model_size="Medium", initial_weights="Deblur"),
    "Medium, rate 1.3e-3": replace(_with(model_size="Medium"), rate=1.3e-3),
    "Large, rate 1e-3": replace(_with(model_size="Large"), rate=1e-3),
}


@dataclass(frozen=True)
class Task:
    """A pair of sequences with its training frames, and held-out frames with their masks.

    Attributes:
        neighbours: Input and truth of consecutive held-out frames, for the flicker.
    """

    pair: Pair
    frames: str
    source: ImageSequence
    truth: ImageSequence
    mask: ImageSequence | None
    held_out: tuple[int, ...]
    knobs: dict[str, object] = field(default_factory=dict)
    neighbours: tuple[tuple[Path, Path], ...] = ()

    @classmethod
    def of(cls, name: str, frames: Path, shots: Path) -> Task:
        """T1 or T2, built below ``frames``, or a real shot."""
        if name in SHOTS:
            return cls.real(name, shots, frames / name)
        folder = build_frames(name, NEIGHBOURS[name], frames / f"{name}-neighbours")
        files = [f"{number:04d}.png" for number in NEIGHBOURS[name]]
        neighbours = tuple((folder / "src" / file, folder / "dst" / file) for file in files)
        return replace(cls.common(build(name, frames)), neighbours=neighbours)

    @classmethod
    def common(cls, root: Path) -> Task:
        """T1 or T2."""
        source = ImageSequence.parse(root / "test/src")
        mask = ImageSequence.parse(root / "test/mask") if (root / "test/mask").exists() else None
        pair = Pair(str(root / "train/src"), str(root / "train/dst"))
        return cls(pair, "all", source, ImageSequence.parse(root / "test/dst"), mask, tuple(source.frames()))

    @classmethod
    def real(cls, name: str, shots: Path, out: Path) -> Task:
        """One of ``benchmarks.shots``, scored on seven of its frames."""
        shot = SHOTS[name](shots, out)
        held_out = shot.held_out[2 :: max(1, len(shot.held_out) // 7)][:7]
        pair = Pair(str(shot.plate), str(shot.truth))
        knobs: dict[str, object] = {"ground_truth_channels": ",".join(shot.target_channels)}
        frames = format_frames(list(shot.training))
        middle = len(shot.held_out) // 2
        near = [(shot.plate.path(n), shot.truth.path(n)) for n in shot.held_out[middle : middle + _NEIGHBOURS]]
        return cls(pair, frames, shot.plate, shot.truth, shot.mask, tuple(held_out), knobs, tuple(near))


def train(task: Task, variant: Variant, budget: float, seed: int, by_steps: bool = False) -> dict[str, float]:
    """Trains one variant; returns steps, CPU-seconds and scores."""
    began = _cpu_seconds()
    header, weights = fit(task, variant, budget, seed, by_steps=by_steps)
    cpu_seconds = _cpu_seconds() - began
    network = header.network()
    network.load_state_dict(weights)
    return {"steps": header.step, "cpu_seconds": cpu_seconds, **scores(network, header, task)}


Model = tuple[cat.ModelHeader, dict[str, Tensor]]


def fit(
    task: Task, variant: Variant, budget: float, seed: int, start: Model | None = None, by_steps: bool = False
) -> Model:
    """Trains one variant, from the weights of ``start`` if given; returns the model with averaged weights.

    ``budget`` is in CPU-seconds of one thread, or with ``by_steps`` in steps.
    """
    torch.set_num_threads(1)
    knobs = {**variant.knobs, **task.knobs}
    settings = Settings(**knobs, seed=seed, use_gpu_if_available=False)  # type: ignore[arg-type]
    began = _cpu_seconds()
    encodings = (start[0].input_encoding, start[0].target_encoding) if start else None
    plate_kind = start[0].plate if start else None
    full = load_dataset(find_frames([task.pair], task.frames), settings, encodings=encodings, plate=plate_kind)
    shipped = starting_point(settings)
    weights = start[1] if start else None
    header = cat.ModelHeader.for_dataset(full, variant.row or ROWS[settings.model_size])
    if shipped:
        weights = shipped.weights_for(full.input_channels, full.target_channels, header.plate_size)
    batch = settings.crops_per_step(len(full))
    with mock.patch.object(optimiser, "_is_inner_matrix", optimiser._is_inner_matrix if variant.muon else _never):
        trained = variant.learner(
            header, settings, torch.device("cpu"), batch, weights, plate=full.clean_plate, painted=full.painted
        )
    others = variant.unpainted(full, task.source) if variant.unpainted else None
    if others and full.mask_bank is None:
        full = replace(full, mask_bank=torch.ones(*full.input_bank.shape[:3], 1, dtype=torch.half))
    data, unpainted, step = full, others, 0
    composites: Composites | None = None
    plan = schedule.Schedule(0, budget * variant.planned, decay_share=variant.decay)
    finishing = False
    with (
        mock.patch.object(crops, "_RECENT_SHARE", variant.share),
        mock.patch.object(losses, "_FLOOR", variant.floor),
        mock.patch.object(parameters, "AVERAGE_DECAY", variant.average),
        mock.patch.object(optimiser, "BETAS", variant.betas),
        mock.patch.object(optimiser, "MOMENTUM", variant.momentum),
        mock.patch.object(optimiser, "STEP_SIZE", variant.step_size),
        mock.patch.object(losses.torch, "log", torch.log if variant.log else lambda error: error),
    ):
        while (elapsed := float(step) if by_steps else _cpu_seconds() - began) < budget:
            if variant.finish and not finishing and elapsed >= budget / 1.25:
                plan, finishing = plan.finishing(step, elapsed), True
            done = plan.progress(step, elapsed)
            ends = zip((4, 2, 1), np.cumsum(variant.stages), strict=True)
            level = 1 if finishing else next(level for level, end in ends if done < end or level == 1)
            if data.level != level or not step:
                data, unpainted = full.at_level(level), others and others.at_level(level)
                composites = None
                if are_used(data, settings, print):
                    composites = Composites(with_room(data), seed, data.crop(settings.crop_size), batch)
                    data = composites.data
            if composites:
                composites.renew(step)
            rate = plan.learning_rate(step, done) / schedule.LEARNING_RATE * variant.rate
            begun = unpainted is not None and done >= variant.begin
            if begun and batch == 1:  # no step has crops of both
                whole = unpainted if step % round(1 / variant.share) == 0 else data
                trained.learn(whole, step, rate, print)
            else:
                trained.learn(data, step, rate, print, unpainted if begun else None)
            step += 1
    return replace(header, step=step), trained.parameters.average_by_name()


def scores(network: Network, header: cat.ModelHeader, task: Task) -> dict[str, float]:
    """Mean PSNR over the held-out frames, with masks also inside and outside these; flicker of the neighbours."""
    rows: dict[str, list[float]] = {}
    for frame in task.held_out:
        shown = _shown(network, header, task.source.path(frame), task.truth.path(frame))
        found = {"psnr": psnr8(shown.result, shown.truth)}
        if task.mask:
            path = task.mask.path(frame)
            mask = read_frame(path, read_info(path).channels[:1]).pixels[..., 0] > 0.5
            places = {"inside": mask, "outside": ~mask}
            found |= {name: psnr8(shown.result, shown.truth, where) for name, where in places.items()}
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
    result = {name: float(np.mean(values)) for name, values in rows.items()}
    if task.neighbours:
        result["flicker"] = flicker(pairwise(_shown(network, header, *files) for files in task.neighbours))
    return result


def _shown(network: Network, header: cat.ModelHeader, source: Path, truth: Path) -> Frame:
    """A frame, its result and its truth in 8 bits as displayed."""
    plate, wanted = read_frame(source, header.channels_in), read_frame(truth, header.channels_out)
    image = torch.from_numpy(plate.pixels).movedim(-1, 0)
    result = tiles.render(network, image, (header.input_encoding, header.target_encoding)).movedim(0, -1).numpy()
    colour = wanted.info.linear and len(header.channels_out) >= 3
    pictures = [(plate.pixels, plate.info.linear), (result, colour), (wanted.pixels, colour)]
    parts = (srgb(pixels) if linear else pixels for pixels, linear in pictures)
    return Frame(*((part.clip(0, 1) * 255).round() for part in parts))


def _never(name: str, part: Tensor) -> bool:
    return False


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Prints a row per variant, the mean over the seeds."""
    parser = argparse.ArgumentParser(description="Ablation of the training recipe")
    parser.add_argument("task", choices=("t1", "t2", *SHOTS))
    parser.add_argument("--budget", type=float, nargs="+", default=[120.0], help="CPU-seconds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--frames", type=Path, default=Path("build/tasks"))
    parser.add_argument("--shots", type=Path, help="directory with the real shots")
    record.add_option(parser)
    options = parser.parse_args()
    results: list[record.Row] = []
    task = Task.of(options.task, options.frames, options.shots)
    print(f"| {options.task} | CPU-seconds of one thread | steps | PSNR | inside | outside | flicker |")
    print("|---|---|---|---|---|---|---|")
    for name, budget in product(options.only, options.budget):
        rows = [train(task, VARIANTS[name], budget, seed) for seed in options.seeds]
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        results.append({"variant": name, "budget": budget, "seeds": len(rows), **mean})
        record.write(f"recipe-{options.task}", results, options.json)
        cells = [
            f"{budget:.0f} | {mean['steps']:.0f}",
            *(f"{mean[k]:.2f}" if k in mean else "" for k in ("psnr", "inside", "outside", "flicker")),
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
