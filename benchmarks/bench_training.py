"""How fast is a training step? copycat's Learner against the same network in a plain eager loop.

    python benchmarks/bench_training.py [--device cpu|cuda] [--sizes Small,Medium,Large] [--crops 128,256]
        [--batch N] [--threads 1,2] [--steps N] [--json PATH]

The other loop is what a user would write: ordinary parameters under torch.autocast in bfloat16, torch.optim.AdamW as it
comes, an average per parameter, crops cut with numpy in a torch DataLoader; the loss and the network's weights are the
same. The two take turns, a round of steps each, and medians over the rounds are compared. On the CPU the ratio
is that of the process's CPU time, which other programs on the machine disturb less than the wall; on a GPU that of the
wall time between two waits for the device.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from copycat import cat, ops
from copycat.config import Settings
from copycat.dataset import Dataset
from copycat.devices import device_name
from copycat.encoding import loss_scale
from copycat.learner import Learner
from copycat.losses import Loss
from copycat.models import GatedBlocks, Network, PixelNorm
from copycat.parameters import AVERAGE_DECAY
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from torch.utils.data import DataLoader

PAIRS, HEIGHT, WIDTH = 16, 540, 960
RATE = 1e-3
ENCODING = ops.Encoding((0.0,) * 3, (0.5,) * 3, (0.29,) * 3)


@dataclass(frozen=True)
class Row:
    """Milliseconds of a step, of the wall and of the CPU (all threads), ours and the plain loop's."""

    size: str
    crop: int
    batch: int
    threads: int
    steps_per_second: float
    plain_steps_per_second: float
    cpu_milliseconds: float
    plain_cpu_milliseconds: float
    ratio: float


def synthetic(device: torch.device) -> Dataset:
    """Noise and a change of colour: the arithmetic does not depend on the pictures."""
    source = torch.rand((PAIRS, HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(0)).half()
    data = Dataset(
        pairs=(),
        input_bank=source,
        target_bank=(0.8 * source.float() + 0.1).half(),
        mask_bank=None,
        valid=torch.tensor([[0, 0, WIDTH, HEIGHT]] * PAIRS, dtype=torch.int32),
        centres=torch.zeros((0, 2), dtype=torch.int32),
        centre_offsets=torch.zeros(PAIRS + 1, dtype=torch.int32),
        input_channels=("R", "G", "B"),
        target_channels=("R", "G", "B"),
        residual=(0, 1, 2),
        input_encoding=ENCODING,
        target_encoding=ENCODING,
        linear=False,
        level=1,
        data_hash="",
        warnings=(),
    )
    return data.to(device, pinned=False) if device.type == "cuda" else data


class Ours:
    """The training loop's own learner."""

    def __init__(self, size: str, crop: int, batch: int, data: Dataset, device: torch.device) -> None:
        settings = Settings(model_size=size, crop_size=crop)
        header = cat.ModelHeader(
            model_size=size,
            channels_in=data.input_channels,
            channels_out=data.target_channels,
            residual=data.residual,
            input_encoding=ENCODING,
            target_encoding=ENCODING,
            settings=settings.to_dict(),
            data_hash="",
        )
        self._learner = Learner(header, settings, device, batch)
        self._data = data
        self._step = 0

    def step(self) -> None:
        self._learner.learn(self._data, self._step, RATE, print)
        self._step += 1


class PlainBlocks(nn.Module):
    """GatedBlocks in torch's own operators, with the same parameters."""

    def __init__(self, blocks: GatedBlocks) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block.scale1 * block.project1(_gate(block.spatial(_norm(block.norm1, x))))
            x = x + block.scale2 * block.project2(_gate(block.pointwise(_norm(block.norm2, x))))
        return x


def _norm(norm: PixelNorm, x: Tensor) -> Tensor:
    x = x.permute(0, 2, 3, 1)
    return layer_norm(x, x.shape[-1:], norm.weight, norm.bias, 1e-6).permute(0, 3, 1, 2)


def _gate(x: Tensor) -> Tensor:
    u, v = x.chunk(2, dim=1)
    return u * v


class Crops(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A random crop of each pair."""

    def __init__(self, data: Dataset, crop: int) -> None:
        self._frames = [
            (a.cpu().numpy(), b.cpu().numpy()) for a, b in zip(data.input_bank, data.target_bank, strict=True)
        ]
        self._crop = crop

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        y = int(torch.randint(HEIGHT - self._crop + 1, ()))
        x = int(torch.randint(WIDTH - self._crop + 1, ()))
        mean, std = np.float32(ENCODING.mean), np.float32(ENCODING.std)
        cut = [
            (frame[y : y + self._crop, x : x + self._crop].astype(np.float32) - mean) / std
            for frame in self._frames[index]
        ]
        return torch.from_numpy(cut[0].transpose(2, 0, 1)), torch.from_numpy(cut[1].transpose(2, 0, 1))


class Plain:
    """The loop that a user would write."""

    def __init__(self, size: str, crop: int, batch: int, data: Dataset, device: torch.device) -> None:
        torch.manual_seed(0)
        network = Network(size, 3, (0, 1, 2))
        for name, module in list(network.named_modules()):
            if isinstance(module, GatedBlocks):
                parent, _, child = name.rpartition(".")
                setattr(network.get_submodule(parent), child, PlainBlocks(module))
        self._network = network.to(device)
        self._average = copy.deepcopy(self._network)
        self._optimiser = torch.optim.AdamW(self._network.parameters(), lr=RATE, betas=(0.9, 0.99))
        self._loss, self._scale = Loss(1.0, 0.0), loss_scale(ENCODING).to(device)
        self._device = device
        workers = 4 if device.type == "cuda" else 0
        self._loader = DataLoader(
            Crops(data, crop),
            batch_size=batch,
            shuffle=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            drop_last=True,
        )
        self._batches = iter(self._loader)

    def step(self) -> None:
        try:
            batch = next(self._batches)
        except StopIteration:
            self._batches = iter(self._loader)
            batch = next(self._batches)
        source, target = (part.to(self._device, non_blocking=True) for part in batch)
        self._optimiser.zero_grad()
        with torch.autocast(self._device.type, torch.bfloat16):
            output = self._network(source)
        objective, _ = self._loss(output, target, self._scale, None)
        objective.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        with torch.no_grad():
            for average, parameter in zip(self._average.parameters(), self._network.parameters(), strict=True):
                average.lerp_(parameter, 1 - AVERAGE_DECAY)


def timed(step: Callable[[], None], steps: int, device: torch.device) -> tuple[float, float]:
    """Milliseconds per step of the wall and of the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - wall) * 1e3 / steps, (time.process_time() - cpu) * 1e3 / steps


def measure(size: str, crop: int, batch: int, threads: int, data: Dataset, rounds: int, device: torch.device) -> Row:
    torch.set_num_threads(threads)
    steps = 20 if device.type == "cuda" else 1
    loops = [loop(size, crop, batch, data, device) for loop in (Ours, Plain)]
    for loop in loops:
        timed(loop.step, max(2, steps // 2), device)  # warm up
    times: list[list[tuple[float, float]]] = [[], []]
    for _ in range(rounds):
        for found, loop in zip(times, loops, strict=True):
            found.append(timed(loop.step, steps, device))
    (wall, cpu), (plain_wall, plain_cpu) = (
        (statistics.median(found[0] for found in side), statistics.median(found[1] for found in side)) for side in times
    )
    ratio = plain_wall / wall if device.type == "cuda" else plain_cpu / cpu
    return Row(size, crop, batch, threads, 1e3 / wall, 1e3 / plain_wall, cpu, plain_cpu, ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", default="Small,Medium,Large")
    parser.add_argument("--crops", default="128,256")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--threads", default="1,2", help="CPU threads, each in turn; on a GPU the last counts")
    parser.add_argument("--steps", type=int, default=7, help="rounds: of one step on the CPU, of 20 on a GPU")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    device = torch.device(options.device)
    threads = [int(count) for count in options.threads.split(",")]
    if device.type == "cuda":
        threads = threads[-1:]
    data = synthetic(device)
    print(f"{device_name(device)}, torch {torch.__version__}, batch {options.batch}")
    print("model   crop threads   steps/s  plain   CPU ms/step  plain   plain / ours")
    rows = []
    for count in threads:
        for size in options.sizes.split(","):
            for crop in (int(side) for side in options.crops.split(",")):
                row = measure(size, crop, options.batch, count, data, options.steps, device)
                rows.append(row)
                print(
                    f"{size:7} {crop:4} {count:7} {row.steps_per_second:9.2f} {row.plain_steps_per_second:6.2f} "
                    f"{row.cpu_milliseconds:12.1f} {row.plain_cpu_milliseconds:7.1f} {row.ratio:11.2f} x",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps({"device": device_name(device), "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
