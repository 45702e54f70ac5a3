"""How fast are our 3x3 convolutions on the CPU? Forward and both gradients, against torch's and a matrix product.

    python -m benchmarks.bench_conv3x3 [--dtypes bfloat16,float32] [--sizes Small,Medium,Large] [--threads 1]
        [--json FILE]

The convolutions of a training step of five crops of 128 pixels. `of matrix rate` relates the multiplications of the
definition per second to those of torch's matrix product of 1024 x 1024 in the same run: above 100 %, no direct
convolution could be as fast. Medians, ours and torch's in turns; CPU time if there is one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from copycat import ops
from copycat.data.memory import keep_memory
from copycat.model.network import ROWS
from torch import Tensor

from benchmarks import record

BATCH, CROP, ROUNDS = 5, 128, 20


def medians(clock: Callable[[], float], *calls: Callable[[], object]) -> list[float]:
    """Milliseconds of each call."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS + 2):
        for call, samples in zip(calls, times, strict=True):
            before = clock()
            call()
            samples.append((clock() - before) * 1e3)
    return [statistics.median(samples[2:]) for samples in times]


def noise(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)


def row(dtype: torch.dtype, channels: int, side: int, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of a gated block's convolution C -> 2C, ours and torch's."""
    wide = 2 * channels
    x, flow = noise(dtype, BATCH, channels, side, side), noise(dtype, BATCH, wide, side, side)
    weight, bias = noise(dtype, wide, channels, 3, 3), torch.randn(wide).to(dtype)

    def gradients(*mask: bool) -> object:
        return torch.ops.aten.convolution_backward(
            flow, x, weight, [wide], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, list(mask)
        )

    names = ("forward", "forward, torch", "input", "input, torch", "weight", "weight, torch")
    times = medians(
        clock,
        lambda: torch.ops.copycat.conv3x3(x, weight, bias),
        lambda: torch.conv2d(x, weight, bias, padding=1),
        lambda: torch.ops.copycat.conv3x3_input_gradient(flow, weight),
        lambda: gradients(True, False, False),
        lambda: torch.ops.copycat.conv3x3_weight_gradient(x, flow),
        lambda: gradients(False, True, True),
    )
    return dict(zip(names, times, strict=True))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="3x3 convolutions on the CPU")
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--sizes", default=",".join(ROWS))
    parser.add_argument("--threads", type=int, default=1)
    record.add_option(parser)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    rows: list[dict[str, record.Value]] = []
    for dtype in (getattr(torch, name) for name in options.dtypes.split(",")):
        if not ops.conv3x3_is_fast(dtype):
            print(f"{dtype}: torch's convolutions are used on this processor")
            continue
        a = torch.randn(1024, 1024).to(dtype)
        rate = 2 * 1024**3 / medians(clock, lambda a=a: a @ a)[0] / 1e6
        print(f"{dtype}, {options.threads} threads, matmul {rate:.0f} GFLOP/s; milliseconds, ours / torch's (ratio)")
        for size in options.sizes.split(","):
            for level, channels in enumerate(ROWS[size].widths):
                side = CROP // 2 >> level
                times_of = row(dtype, channels, side, clock)
                flops = 2 * BATCH * side**2 * 9 * channels * 2 * channels / 1e6
                ours, theirs = (
                    sum(t for n, t in times_of.items() if ("torch" in n) == is_torch) for is_torch in (False, True)
                )
                parts = [
                    f"{times_of[n]:6.2f} / {times_of[f'{n}, torch']:6.2f} ({times_of[f'{n}, torch'] / times_of[n]:.2f})"
                    for n in ("forward", "input", "weight")
                ]
                print(
                    f"{size:6} {channels:4} -> {2 * channels:4}, {side:2} px:  " + "   ".join(parts),
                    f"  all {theirs / ours:.2f} x, {3 * flops / ours / rate:.0%} of matrix rate",
                    flush=True,
                )
                case = {"dtype": str(dtype)[6:], "size": size, "channels": channels, "side": side}
                rows.append({**case, "threads": options.threads, **times_of, "ratio": theirs / ours})
                rows[-1]["of_matrix_rate"] = 3 * flops / ours / rate
                record.write("bench_conv3x3", rows, options.json)


if __name__ == "__main__":
    main()
