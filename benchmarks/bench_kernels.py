"""How fast are the kernels? Time, bandwidth against copying, and ratios to the alternatives.

    python -m benchmarks.bench_kernels [--device cpu|cuda] [--only crops,downsize] [--no-compile] [--threads N]
        [--json FILE]

Each row is the median over calls on rotating buffers that together exceed the caches. `copy` is the share of the
bandwidth that a plain copy reaches in the same run (bytes read and written, both counted; for banks in pinned host
memory: of a copy from there to the GPU, bytes read). The other columns are ratios: above 1, ours is faster.
On a GPU several calls are recorded as a CUDA graph and its replays are timed with events, ours and theirs alike, so
that no launch from Python counts. On the CPU it is the process's CPU time (all threads), which other programs disturb
less than wall time.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from copycat import ops
from copycat.ops import CropRule, Encoding, native
from copycat.training.graph import end_allocation
from torch import Tensor
from torch.nn.functional import avg_pool2d, layer_norm

from benchmarks import record

UHD = (2160, 3840)
OPERATORS = torch.ops.copycat
PLAIN = Encoding((0.0,) * 3, (0.4,) * 3, (0.2,) * 3)
LOG = Encoding((20.0,) * 3, (0.4,) * 3, (0.2,) * 3)


CALLS = 10  # of a recording

Call = Callable[[int], object]


@dataclass
class Row:
    name: str
    milliseconds: float
    gigabytes_per_second: float
    of_copy: float
    faster_than: dict[str, float] = field(default_factory=dict)


class Bench:
    """Times calls on one device."""

    def __init__(self, device: str, seconds: float, compiles: bool, path: Path | None = None) -> None:
        """``path``: of the result, which is written after each row; None for the ordinary one."""
        self.path = path
        self.device = torch.device(device)
        self.compiles = compiles
        self.seconds = seconds
        self.rows: list[Row] = []
        size = (64 if device == "cpu" else 1024) << 20
        source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
        self.copy = 2 * size / self.time(lambda _: target.copy_(source)) / 1e6
        self.upload = 0.0
        if device != "cpu":
            host = torch.zeros(size, dtype=torch.uint8).pin_memory()
            self.upload = size / self.time(lambda _: target.copy_(host, non_blocking=True)) / 1e6

    def time(self, call: Call, least: int = 5) -> float:
        """Median milliseconds of call(i), i = 0, 1, 2, ..."""
        call(0)
        call(1)
        if self.device.type == "cuda":
            return self._time_of_replays(call, least)
        times: list[float] = []
        for i in self._rounds(times, least):
            before = time.process_time()
            call(i)
            times.append((time.process_time() - before) * 1e3)
        return statistics.median(times)

    def _time_of_replays(self, call: Call, least: int) -> float:
        torch.cuda.synchronize()
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            # The outer context brings the stream back when something cannot be recorded.
            with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, pool=pool):
                for i in range(CALLS):
                    call(i)
        except Exception:
            end_allocation(self.device, pool)
            raise
        times: list[float] = []
        for _ in self._rounds(times, least):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / CALLS)
        return statistics.median(times)

    def _rounds(self, times: list[float], least: int) -> Iterator[int]:
        started = time.perf_counter()
        while len(times) < least or (time.perf_counter() - started < self.seconds and len(times) < 200):
            yield len(times)

    def row(self, name: str, moved: int, ours: Call, *, rate: float = 0.0, **others: Call | None) -> None:
        """Adds and prints a row; `moved` is in bytes, `rate` the GB/s to compare with instead of the copy's."""
        torch.compiler.reset()  # the functions of other rows do not count towards the compiler's limit
        mine = self.time(ours)
        speed = moved / mine / 1e6
        row = Row(name, mine, speed, speed / (rate or self.copy))
        for other, call in others.items():
            if call is None or (other == "compiled" and not self.compiles):
                continue
            try:
                row.faster_than[other] = self.time(call, least=3) / mine
            except Exception as error:  # torch.compile needs a compiler that may not be there
                print(f"  {other}: {type(error).__name__}: {str(error).splitlines()[0]}")
        self.rows.append(row)
        print(
            f"{name:44} {mine:9.3f} ms {speed:8.1f} GB/s {row.of_copy:6.0%} of copy  "
            + "  ".join(f"{ratio:.1f} x {other}" for other, ratio in row.faster_than.items()),
            flush=True,
        )
        self.write()

    def write(self) -> None:
        copying = Row("copying", 0.0, self.copy, 1.0)
        rows = [asdict(row) | {"threads": torch.get_num_threads()} for row in (copying, *self.rows)]
        record.write(f"bench_kernels-{self.device.type}", rows, self.path)


def crops(bench: Bench, batch: int) -> None:
    frames, (height, width), size = 8, (1080, 1920), 256
    banks = [torch.rand(frames, height, width, 3).half().to(bench.device) for _ in range(2)]
    valid = torch.tensor([[0, 0, width, height]] * frames, dtype=torch.int32)
    moved = batch * size * size * 3 * 2 * (2 + 2)
    for label, encoding, turns in (
        ("", PLAIN, {}),
        (" mirrored", PLAIN, {"flop": 1.0}),
        (" turned", PLAIN, {"turn": 1.0}),
        (" log", LOG, {}),
        (" log graded", LOG, {"gain": 1.0, "contrast": 1.0, "saturation": 1.0}),
    ):
        rule = CropRule(crop=(size, size), seed=0, valid=valid.to(bench.device), **turns)
        numbers = (torch.tensor(n, device=bench.device).view(1, 3, 1, 1) for n in (encoding.mean, encoding.std))
        mean, std = numbers
        rec_709 = torch.tensor([0.2126, 0.7152, 0.0722], device=bench.device).view(1, 3, 1, 1)
        gain, contrast, saturation = (2 ** (2 * torch.rand(3, batch, 1, 1, 1, device=bench.device) - 1)).unbind()

        def encode(
            stack: Tensor,
            label: str = label,
            mean: Tensor = mean,
            std: Tensor = std,
            rec_709: Tensor = rec_709,
            gain: Tensor = gain,
            contrast: Tensor = contrast,
            saturation: Tensor = saturation,
        ) -> Tensor:
            x = stack.permute(0, 3, 1, 2).float()
            if "graded" in label:
                x = (x * gain - 0.18) * contrast + 0.18
                grey = (x * rec_709).sum(1, keepdim=True)
                x = grey + saturation * (x - grey)
            x = x.flip(3) if "mirrored" in label else torch.rot90(x, 1, (2, 3)) if "turned" in label else x
            x = x.sign() * torch.log1p(20 * x.abs()) if "log" in label else x
            return ((x - mean) / std).to(torch.bfloat16, memory_format=torch.channels_last)

        def cut(i: int) -> list[Tensor]:
            corners = [((i + b) * 97 % (height - size), (i + b) * 131 % (width - size)) for b in range(batch)]
            return [
                torch.stack([bank[b % frames, y : y + size, x : x + size] for b, (y, x) in enumerate(corners)])
                for bank in banks
            ]

        fused = torch.compile(encode)
        bench.row(
            f"sample_crops {batch} x {size}{label}, half to bf16",
            moved,
            lambda i, rule=rule, encoding=encoding: ops.sample_crops(
                *banks,
                rule,
                step=i,
                batch=batch,
                input_encoding=encoding,
                target_encoding=encoding,
                input_layers=[(0, 1, 2)],
                target_layers=[(0, 1, 2)],
                dtype=torch.bfloat16,
            ),
            torch=lambda i: [encode(stack) for stack in cut(i)],
            compiled=lambda i, fused=fused: [fused(stack) for stack in cut(i)],
        )


def crops_of_pinned_banks(bench: Bench, batch: int) -> None:
    """The banks stay in host memory and the kernel reads them through the bus."""
    frames, (height, width), size = 8, (1080, 1920), 256
    banks = [torch.rand(frames, height, width, 3).half().pin_memory() for _ in range(2)]
    valid = torch.tensor([[0, 0, width, height]] * frames, dtype=torch.int32, device=bench.device)
    rule = CropRule(crop=(size, size), seed=0, valid=valid)
    bench.row(
        f"sample_crops {batch} x {size} from pinned memory",
        batch * size * size * 3 * 2 * 2,
        lambda i: ops.sample_crops(
            *banks,
            rule,
            step=i,
            batch=batch,
            input_encoding=PLAIN,
            target_encoding=PLAIN,
            dtype=torch.bfloat16,
            device=bench.device,
        ),
        rate=bench.upload,
    )


def pictures(bench: Bench, dtype: torch.dtype) -> Iterator[Tensor]:
    for seed in range(4):
        torch.manual_seed(seed)
        yield (torch.rand(1, *UHD, 3) * (255 if dtype == torch.uint8 else 1)).to(bench.device, dtype)


def downsizing(bench: Bench, dtype: torch.dtype) -> None:
    banks = list(pictures(bench, dtype))
    for factor in (2, 4):
        moved = banks[0].nbytes + banks[0].nbytes // factor**2
        # Ours and OpenCV's results go into memory of an earlier call: fresh pages would cost more than averaging.
        out = ops.downsize(banks[0], factor)
        opencv = openimageio = None
        if bench.device.type == "cpu" and dtype != torch.float16:
            import cv2
            import OpenImageIO

            cv2.setNumThreads(torch.get_num_threads())
            OpenImageIO.attribute("threads", torch.get_num_threads())
            arrays = [bank[0].numpy() for bank in banks]
            buffers = [OpenImageIO.ImageBuf(array) for array in arrays]
            size = (UHD[1] // factor, UHD[0] // factor)
            target = out[0].clone().numpy()

            def opencv(i: int, arrays: list = arrays, size: tuple = size, target: object = target) -> None:
                cv2.resize(arrays[i % 4], size, dst=target, interpolation=cv2.INTER_AREA)

            def openimageio(i: int, buffers: list = buffers, size: tuple = size) -> None:
                OpenImageIO.ImageBufAlgo.resize(
                    buffers[i % 4], filtername="box", roi=OpenImageIO.ROI(0, size[0], 0, size[1])
                )

        def pool(bank: Tensor, factor: int = factor) -> Tensor:
            return avg_pool2d(bank.permute(0, 3, 1, 2).float(), factor).to(dtype)

        fused = torch.compile(pool)

        bench.row(
            f"downsize {factor}, UHD {str(dtype)[6:]}",
            moved,
            lambda i, factor=factor, out=out: native.core.downsize(
                bank=native.capsule(banks[i % 4]), factor=factor, out=native.capsule(out), **native.launch_options(out)
            ),
            torch=lambda i, pool=pool: pool(banks[i % 4]),
            compiled=lambda i, fused=fused: fused(banks[i % 4]),
            opencv=opencv,
            openimageio=openimageio,
        )


def encoding(bench: Bench) -> None:
    banks = [bank.permute(0, 3, 1, 2) for bank in pictures(bench, torch.float16)]
    for label, numbers in (("", PLAIN), (" log", LOG)):
        mean, std = (torch.tensor(n, device=bench.device).view(1, 3, 1, 1) for n in (numbers.mean, numbers.std))

        def there(x: Tensor, label: str = label, mean: Tensor = mean, std: Tensor = std) -> Tensor:
            x = x.float()
            return ((x.sign() * torch.log1p(20 * x.abs()) if label else x) - mean) / std

        def back(y: Tensor, label: str = label, mean: Tensor = mean, std: Tensor = std) -> Tensor:
            y = y.float() * std + mean
            return y.sign() * torch.expm1(y.abs()) / 20 if label else y

        for name, ours, plain in (("normalize", ops.normalize, there), ("denormalize", ops.denormalize, back)):
            fused = torch.compile(plain)
            bench.row(
                f"{name}{label}, UHD half to float",
                banks[0].nbytes * 3,
                lambda i, ours=ours, numbers=numbers: ours(banks[i % 4], numbers),
                torch=lambda i, plain=plain: plain(banks[i % 4]),
                compiled=lambda i, fused=fused: fused(banks[i % 4]),
            )


def moments(bench: Bench, dtype: torch.dtype) -> None:
    banks = list(pictures(bench, dtype))
    valid = torch.tensor([[0, 0, UHD[1], UHD[0]]], dtype=torch.int32, device=bench.device)

    def plain(x: Tensor) -> object:
        x = x.double().flatten(0, 2)
        finite = x.isfinite()
        x = torch.where(finite, x, 0)
        return torch.var_mean(x, 0), x.amin(0), x.amax(0), finite.sum(0)

    fused = torch.compile(plain)
    bench.row(
        f"statistics, UHD {str(dtype)[6:]}",
        banks[0].nbytes,
        lambda i: OPERATORS.statistics(banks[i % 4], valid),
        torch=lambda i: plain(banks[i % 4]),
        compiled=lambda i: fused(banks[i % 4]),
    )


def blocks(bench: Bench, pixels: int, channels: int) -> None:
    """The operators between the convolutions of a gated block, in the sizes of a step of 16 crops of 256."""

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, device=bench.device).to(torch.bfloat16)

    wide = [noise(pixels, 2 * channels) for _ in range(4)]
    x, branch, flow, more = ([noise(pixels, channels) for _ in range(4)] for _ in range(4))
    scale, weight, bias = (noise(channels) for _ in range(3))

    def plain_gate(wide: Tensor) -> Tensor:
        u, v = wide.chunk(2, dim=1)
        return u * v

    def plain_norm(x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.addcmul(x, branch, scale)
        return total, layer_norm(total, (channels,), weight, bias, 1e-6)

    gate, norm = torch.compile(plain_gate), torch.compile(plain_norm)
    compiles = channels < 96  # for one size: it takes seconds each time
    unit = pixels * channels * 2  # bytes of a tensor [pixels, channels]
    where = f"{pixels} x {channels} bf16"
    bench.row(
        f"gate, {where}",
        3 * unit,
        lambda i: OPERATORS.gate(wide[i % 4]),
        torch=lambda i: plain_gate(wide[i % 4]),
        compiled=(lambda i: gate(wide[i % 4])) if compiles else None,
    )
    bench.row(f"gate_gradient, {where}", 5 * unit, lambda i: OPERATORS.gate_gradient(wide[i % 4], flow[i % 4]))
    bench.row(
        f"residual_norm, {where}",
        4 * unit,
        lambda i: OPERATORS.residual_norm(x[i % 4], branch[i % 4], scale, weight, bias),
        torch=lambda i: plain_norm(x[i % 4], branch[i % 4]),
        compiled=(lambda i: norm(x[i % 4], branch[i % 4])) if compiles else None,
    )
    bench.row(
        f"residual_norm_gradient, {where}",
        6 * unit,
        lambda i: OPERATORS.residual_norm_gradient(x[i % 4], branch[i % 4], scale, weight, flow[i % 4], more[i % 4]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if ops.cuda_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=1.0, help="at most, per measurement")
    parser.add_argument("--only", default="blocks,crops,downsize,encoding,statistics", help="which rows")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="torch.compile as well")
    record.add_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.device, arguments.seconds, arguments.compile, arguments.json)
    rows = arguments.only.split(",")
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads"
    print(f"{name}; copying moves {bench.copy:.1f} GB/s; {ops.build_info()}")
    with torch.inference_mode():
        for pixels, channels in ((262144, 48), (65536, 96), (16384, 192), (4096, 384)):
            if "blocks" in rows:
                blocks(bench, pixels, channels)
        for batch in (16,) if arguments.device == "cpu" else (16, 512):
            if "crops" in rows:
                crops(bench, batch)
            if "crops" in rows and arguments.device == "cuda":
                crops_of_pinned_banks(bench, batch)
        for dtype in (torch.float32, torch.float16, torch.uint8):
            if "downsize" in rows:
                downsizing(bench, dtype)
        if "encoding" in rows:
            encoding(bench)
        for dtype in (torch.float32, torch.float16):
            if "statistics" in rows:
                moments(bench, dtype)


if __name__ == "__main__":
    main()
