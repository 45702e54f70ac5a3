"""How fast is a training step? copycat's Learner against the same network in a plain eager loop.

    python -m benchmarks.bench_training [--device cpu|cuda] [--sizes Small,Medium,Large] [--crops 128,256]
        [--batches 5] [--threads 1,2] [--steps N] [--autotune] [--products] [--compiled MODE,...]
        [--json FILE]

The other loop is what a user would write: ordinary parameters under torch.autocast in bfloat16, torch.optim.AdamW, an
average per parameter, crops cut with numpy in a torch DataLoader; loss and initial weights are the same. The two take
turns, a round of steps each; medians over the rounds are compared. On the CPU the ratio is that of the process's CPU
time, which other programs disturb less than wall time; on a GPU that of the wall time between two synchronisations. A
GPU adds two shares: how much of our loop's time the GPU is busy (from a profile; losses are read back each second, as
in a training), and the network's arithmetic, forward and backward, against the rate of a large bfloat16 matrix product
in the same run; and the kernels that take the most time. ``--compiled`` adds the plain network under torch.compile in
these modes, at its best: with one batch that lies on the device, and a fused optimiser.
"""

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from copycat import ops
from copycat.data.dataset import Dataset
from copycat.data.devices import device_name
from copycat.data.encodings import loss_scale
from copycat.model import cat
from copycat.model.network import ROWS, GatedBlocks, Network, PixelNorm
from copycat.settings.tables import Settings
from copycat.training.losses import Loss
from copycat.training.pending_losses import PendingLosses
from copycat.training.step import Learner
from copycat.training.weights import AVERAGE_DECAY
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear
from torch.utils.data import DataLoader, RandomSampler
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import record
from benchmarks.gpu_profile import profiled

PAIRS, HEIGHT, WIDTH = 16, 540, 960
RATE = 1e-3
_KERNELS = 16
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
    gpu_busy: float | None = None
    of_matrix_rate: float | None = None
    kernels: dict[str, float] | None = None  # milliseconds of a step
    compiled: dict[str, float] | None = None  # steps per second of each mode
    of_compiled: float | None = None  # ours against the best mode, in steps per second


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


def with_products(network: nn.Module) -> None:
    """Turns 1x1 convolutions into matrix products: cuBLAS adds the bias in the same pass, cuDNN in another."""

    def product(convolution: nn.Conv2d, x: Tensor) -> Tensor:
        return linear(x.permute(0, 2, 3, 1), convolution.weight.flatten(1), convolution.bias).permute(0, 3, 1, 2)

    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.forward = partial(product, module)


def learner_for(size: str, crop: int, batch: int, data: Dataset, device: torch.device) -> Learner:
    """The training loop's own learner, untrained."""
    settings = Settings(model_size=size, crop_size=crop)
    header = cat.ModelHeader(
        row=ROWS[size],
        channels_in=data.input_channels,
        channels_out=data.target_channels,
        residual=data.residual,
        input_encoding=ENCODING,
        target_encoding=ENCODING,
        settings=settings.to_dict(),
        data_hash="",
    )
    return Learner(header, settings, device, batch)


class Ours:
    """The learner, and losses read back each second."""

    def __init__(
        self, size: str, crop: int, batch: int, data: Dataset, device: torch.device, products: bool = False
    ) -> None:
        self._learner = learner_for(size, crop, batch, data, device)
        if products:
            with_products(self._learner.network)
        self._data = data
        self._step = 0
        self._pending, self._read = PendingLosses(), time.monotonic()

    def step(self) -> None:
        losses = self._learner.learn(self._data, self._step, RATE, print)
        self._step += 1
        self._pending.add(self._step, 1, RATE, 0.0, losses)
        if time.monotonic() - self._read >= 1:
            self._pending.take()
            self._read = time.monotonic()


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


def plain_network(size: str) -> Network:
    """The network in torch's own operators."""
    network = Network(ROWS[size], 3, (0, 1, 2))
    for name, module in list(network.named_modules()):
        if isinstance(module, GatedBlocks):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, PlainBlocks(module))
    return network


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
    """The loop that a user would write; with a ``mode``, under torch.compile and without loading."""

    def __init__(
        self, size: str, crop: int, batch: int, data: Dataset, device: torch.device, mode: str | None = None
    ) -> None:
        torch.manual_seed(0)
        self._network = plain_network(size).to(device)
        self._average = copy.deepcopy(self._network)
        fused = mode is not None and device.type == "cuda"
        self._optimiser = torch.optim.AdamW(self._network.parameters(), lr=RATE, betas=(0.9, 0.99), fused=fused)
        self._loss, self._scale = Loss(1.0, 0.0), loss_scale(ENCODING).to(device)
        self._device = device
        workers = 4 if device.type == "cuda" else 0
        self._loader = DataLoader(
            Crops(data, crop),
            batch_size=batch,
            # Endless, as the workers would otherwise run dry at the end of each short epoch.
            sampler=RandomSampler(range(PAIRS), replacement=True, num_samples=10**9),
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        self._batches: Iterator[list[Tensor]] = iter(self._loader)
        self._mode, self._forward = mode, self._network
        if mode is not None:
            source, target = (part.to(device) for part in next(self._batches))
            self._batches = itertools.repeat([source, target])
            self._forward = torch.compile(self._network, mode=mode)  # type: ignore[assignment]

    def step(self) -> None:
        batch = next(self._batches)
        source, target = (part.to(self._device, non_blocking=True) for part in batch)
        self._optimiser.zero_grad()
        with torch.autocast(self._device.type, torch.bfloat16):
            output = self._forward(source)
        objective, _ = self._loss(output, target, self._scale, None)
        objective.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        with torch.no_grad():
            averages, parameters = list(self._average.parameters()), list(self._network.parameters())
            if self._mode is None:
                for average, parameter in zip(averages, parameters, strict=True):
                    average.lerp_(parameter, 1 - AVERAGE_DECAY)
            else:
                torch._foreach_lerp_(averages, parameters, 1 - AVERAGE_DECAY)


def timed(step: Callable[[], object], steps: int, device: torch.device) -> tuple[float, float]:
    """Milliseconds per step of the wall and of the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - wall) * 1e3 / steps, (time.process_time() - cpu) * 1e3 / steps


def step_arithmetic(size: str, crop: int, batch: int) -> float:
    """Floating-point operations of a step's convolutions and matrix products, forward and backward."""
    network = plain_network(size).to("meta")
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(batch, 3, crop, crop, device="meta")).sum().backward()
    return float(counter.get_total_flops())


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations per second of a large bfloat16 matrix product, median of 20."""
    side = 8192
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(25):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        torch.matmul(a, b)
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1e3)
    return 2 * side**3 / statistics.median(seconds[5:])


def measure(
    size: str,
    crop: int,
    batch: int,
    threads: int,
    data: Dataset,
    rounds: int,
    device: torch.device,
    peak: float | None,
    products: bool,
    modes: Sequence[str] = (),
) -> Row:
    torch.set_num_threads(threads)
    steps = 20 if device.type == "cuda" else 1
    loops: list[Ours | Plain] = []
    # Ours is recorded before the other's workers start.
    for kind in (partial(Ours, products=products), Plain, *(partial(Plain, mode=mode) for mode in modes)):
        loops.append(kind(size, crop, batch, data, device))
        timed(loops[-1].step, max(2, steps // 2), device)  # warm up
    times: list[list[tuple[float, float]]] = [[] for _ in loops]
    for _ in range(rounds):
        for found, loop in zip(times, loops, strict=True):
            found.append(timed(loop.step, steps, device))
    (wall, cpu), (plain_wall, plain_cpu), *others = (
        (statistics.median(found[0] for found in side), statistics.median(found[1] for found in side)) for side in times
    )
    row = Row(size, crop, batch, threads, 1e3 / wall, 1e3 / plain_wall, cpu, plain_cpu, plain_cpu / cpu)
    if modes:
        compiled = {mode: 1e3 / milliseconds for mode, (milliseconds, _) in zip(modes, others, strict=True)}
        row = replace(row, compiled=compiled, of_compiled=row.steps_per_second / max(compiled.values()))
    if peak is None:
        return row
    of_peak = step_arithmetic(size, crop, batch) / (wall / 1e3) / peak
    spent = profiled(loops[0].step, 50, device)
    slowest = spent.slowest(_KERNELS)
    return replace(row, ratio=plain_wall / wall, gpu_busy=spent.busy, of_matrix_rate=of_peak, kernels=slowest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", default="Small,Medium,Large")
    parser.add_argument("--crops", default="128,256")
    parser.add_argument("--batches", default="5", help="crops in a step, each in turn")
    parser.add_argument("--threads", default="1,2", help="CPU threads, each in turn; on a GPU the last counts")
    parser.add_argument("--steps", type=int, default=7, help="rounds: of one step on the CPU, of 20 on a GPU")
    parser.add_argument("--autotune", action="store_true", help="let cuDNN try its algorithms, for both loops")
    parser.add_argument("--compiled", default="", help="modes of torch.compile for a third loop, with commas")
    parser.add_argument("--products", action="store_true", help="1x1 convolutions as matrix products in our loop")
    record.add_option(parser)
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = options.autotune
    device = torch.device(options.device)
    threads = [int(count) for count in options.threads.split(",")]
    if device.type == "cuda":
        threads = threads[-1:]
    data = synthetic(device)
    peak = matrix_rate(device) if device.type == "cuda" else None
    print(f"{device_name(device)}, torch {torch.__version__}")
    if peak:
        print(f"a bfloat16 matrix product of 8192: {peak / 1e12:.0f} TFLOP/s")
    print("model   crop batch threads   steps/s  plain   CPU ms/step  plain   plain / ours  GPU busy  of matrix rate")
    rows = []
    cases = itertools.product(threads, options.sizes.split(","), options.crops.split(","), options.batches.split(","))
    for count, size, crop, batch in cases:
        modes = [mode for mode in options.compiled.split(",") if mode]
        row = measure(size, int(crop), int(batch), count, data, options.steps, device, peak, options.products, modes)
        rows.append(asdict(row) | {"matrix_rate": peak})
        shares = "" if row.gpu_busy is None else f"{row.gpu_busy:10.1%} {row.of_matrix_rate:14.1%}"
        print(
            f"{size:7} {crop:>4} {batch:>5} {count:7} {row.steps_per_second:9.2f} {row.plain_steps_per_second:6.2f} "
            f"{row.cpu_milliseconds:12.1f} {row.plain_cpu_milliseconds:7.1f} {row.ratio:11.2f} x {shares}",
            flush=True,
        )
        for mode, rate in (row.compiled or {}).items():
            print(f"    {rate:8.2f} steps/s compiled, {mode}")
        for name, milliseconds in (row.kernels or {}).items():
            print(f"    {milliseconds:8.3f} ms  {name[:100]}")
        record.write(f"bench_training-{device.type}", rows, options.json)


if __name__ == "__main__":
    main()
