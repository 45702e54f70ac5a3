"""Which changes make a training step faster? The product's step, and each candidate's, in turns.

    python -m benchmarks.step_candidates [--device cpu|cuda] [--sizes Medium] [--crop 256] [--batch 5] [--only NAME ...]
        [--without NAME ...] [--rounds 12] [--steps 20] [--threads 1] [--float32] [--list] [--json FILE]

Each candidate is a Learner of its own, recorded as in a training, with one change that is put back after each use. Its
first steps have the product's seed and crops, so the losses and the change of the weights must be the product's, but
for rounding: in float32 within 1e-5 and 1e-4 of them, in bfloat16 within 5e-3 and 0.1. Then all take turns, a round of
steps each. The ratio is the product's time of a round to the candidate's: its median and quartiles over the rounds;
wall time on a GPU, CPU time on the CPU. "faster" and "slower" mean that both quartiles are beyond 1 % of the product.
In the end all that were faster, and equal, take turns with the product as one. On a GPU each row also has the kernels,
copies and fills of a step, the share of the ten kinds that take the most time, and the network's arithmetic against
the rate of a large bfloat16 matrix product.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import cache
from unittest.mock import patch

import torch
from copycat.data.dataset import Dataset
from copycat.data.devices import device_name, training_dtype
from copycat.model import network
from copycat.training import step as training_step
from copycat.training.step import Learner
from torch import Tensor

from benchmarks import record
from benchmarks.bench_training import RATE, learner_for, matrix_rate, step_arithmetic, synthetic, timed
from benchmarks.gpu_profile import Profile, profiled
from benchmarks.step_candidates.candidates import CANDIDATES, PRODUCT, Candidate, together

_COMPARED_STEPS = 6  # on a GPU three ordinary ones, then replays
# Of the losses, and of the change of the weights. "The product again" shows what the device itself differs by.
_TOLERANCES = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (5e-3, 0.1)}
_CLEAR = 0.01
_PROFILED_STEPS, _KINDS = 20, 10


@dataclass
class Measured:
    """A candidate's numbers; ``error`` says why some are missing."""

    candidate: Candidate
    losses: Tensor | None = None  # [_COMPARED_STEPS, 3]
    moved: Tensor | None = None  # [n], the change of the weights in these steps
    network: network.Row | None = None
    step: Callable[[], object] | None = None
    milliseconds: dict[int, float] = field(default_factory=dict)  # of a step, by round
    profile: Profile | None = None
    error: str = ""

    def fail(self, error: BaseException) -> None:
        reason = str(error).partition("\n")[0]
        self.error, self.step = f"{type(error).__name__}: {reason}", None


@dataclass(frozen=True)
class Case:
    """What is trained, and on what."""

    size: str
    crop: int
    batch: int
    data: Dataset
    device: torch.device
    float32: bool = False


@dataclass(frozen=True)
class Row:
    """A line of the result. Ratios are the product's time to the candidate's."""

    size: str
    crop: int
    batch: int
    candidate: str
    error: str = ""
    dtype: str | None = None
    milliseconds: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    of_losses: float | None = None  # their difference from the product's, relative
    of_weights: float | None = None  # the same of their change in the compared steps
    equal: bool | None = None
    of_matrix_rate: float | None = None
    operations: float | None = None
    top_ten: float | None = None
    kernels: dict[str, float] | None = None  # milliseconds of a step


def _refuse(sentence: str) -> None:
    """Takes a step's warnings: short memory, or no recording."""
    raise RuntimeError(sentence)


def wake(learner: Learner) -> None:
    """Gives values to what starts at zero, else most of the network would have no gradient in the compared steps."""
    random = torch.Generator().manual_seed(1)
    for name, part in learner.parameters.by_name(learner.parameters.weights).items():
        if "scale" in name or name.startswith("tail."):
            part.copy_(0.1 * torch.randn(part.shape, generator=random))
    learner.parameters.changed()


def prepare(candidate: Candidate, case: Case) -> Measured:
    """Makes a candidate's learner and its first steps; a failure is noted."""
    made = Measured(candidate)
    if obstacle := candidate.obstacle(case.device):
        made.error = f"left out: {obstacle}"
        return made

    def begin() -> None:
        # cuDNN's plans are kept by thread and shape, whether they were tried or guessed. In a thread of its own, with
        # its backward passes in the same one, no learner finds the plans of another.
        with torch.autograd.set_multithreading_enabled(False):
            learner = learner_for(case.size, case.crop, case.batch, case.data, case.device)
            wake(learner)
            candidate.change(learner)
            before = learner.parameters.weights.clone()
            losses = [learner.learn(case.data, number, RATE, _refuse) for number in range(_COMPARED_STEPS)]
        made.losses, made.network = torch.stack(losses).cpu(), learner.network.row
        made.moved = (learner.parameters.weights - before).cpu()
        numbers = iter(range(_COMPARED_STEPS, 10**9))
        made.step = lambda: learner.learn(case.data, next(numbers), RATE, _refuse)

    in_float32 = patch.object(training_step, "training_dtype", lambda device: torch.float32)
    try:
        with in_float32 if case.float32 else nullcontext(), candidate.patched(), ThreadPoolExecutor(1) as thread:
            thread.submit(begin).result()
    except Exception as error:
        made.fail(error)
    return made


def take_turns(
    measured: Sequence[Measured], case: Case, rounds: range, steps: int, after: Callable[[], object]
) -> None:
    """Times rounds of steps; a candidate that fails is left out from then on. ``after`` is called after each round."""
    for number in rounds:
        for one in measured:
            if one.step is None:
                continue
            try:
                with one.candidate.patched():
                    wall, cpu = timed(one.step, steps, case.device)
            except Exception as error:
                if one.candidate is PRODUCT:
                    raise
                one.fail(error)
            else:
                one.milliseconds[number] = wall if case.device.type == "cuda" else cpu
        after()


def look_inside(measured: Sequence[Measured], device: torch.device) -> None:
    """Profiles the candidates on a GPU."""
    for one in measured:
        if one.step is not None and device.type == "cuda":
            try:
                with one.candidate.patched():
                    one.profile = profiled(one.step, _PROFILED_STEPS, device)
            except Exception as error:
                one.fail(error)


def compared(one: Measured, product: Measured, dtype: torch.dtype) -> dict[str, object]:
    """How far the first steps were from the product's; nothing of a candidate that is not meant to be equal."""
    if not one.candidate.equal or one.losses is None or product.losses is None:
        return {}
    assert one.moved is not None
    assert product.moved is not None
    losses = float(((one.losses - product.losses).abs() / product.losses.abs()).max())
    weights = float((one.moved - product.moved).norm() / product.moved.norm())
    most = _TOLERANCES[dtype]
    return {"of_losses": losses, "of_weights": weights, "equal": losses <= most[0] and weights <= most[1]}


@cache
def arithmetic(net: network.Row, crop: int, batch: int) -> float:
    """Floating-point operations of a step of a network."""
    with patch.dict(network.ROWS, {"": net}):
        return step_arithmetic("", crop, batch)


def row(one: Measured, product: Measured, case: Case, peak: float | None) -> Row:
    """A candidate's row, of what is measured so far."""
    dtype = torch.float32 if case.float32 else training_dtype(case.device)
    found = {"error": one.error, "dtype": str(dtype).removeprefix("torch."), **compared(one, product, dtype)}
    if one.milliseconds:
        ratios = [product.milliseconds[number] / milliseconds for number, milliseconds in one.milliseconds.items()]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        verdict = "faster" if low > 1 + _CLEAR else "slower" if high < 1 - _CLEAR else "the same"
        median = statistics.median(one.milliseconds.values())
        found |= {"milliseconds": median, "ratio": middle, "low": low, "high": high, "verdict": verdict}
        if peak and one.network is not None:
            found["of_matrix_rate"] = arithmetic(one.network, case.crop, case.batch) / (median / 1e3) / peak
    if one.profile is not None:
        kinds = one.profile.slowest(_KINDS)
        found |= {"operations": one.profile.operations, "top_ten": one.profile.share_of(_KINDS), "kernels": kinds}
    return Row(case.size, case.crop, case.batch, one.candidate.name, **found)  # type: ignore[arg-type]


def measure(
    case: Case, candidates: Sequence[Candidate], rounds: int, steps: int, write: Callable[[Sequence[Row]], object]
) -> list[Row]:
    """Measures the product, each candidate, all that are equal together, and all of these that are faster together.

    Args:
        case: what is trained.
        candidates: in the order of the rows.
        rounds: of ``steps`` steps each.
        steps: in a round.
        write: called with all rows after each candidate's first steps and after each round.

    Raises:
        RuntimeError: the product's own first steps fail; later ones raise what they raise.
    """
    peak = matrix_rate(case.device) if case.device.type == "cuda" else None
    product = prepare(PRODUCT, case)
    if product.error:
        raise RuntimeError(f"the product's step: {product.error}")
    measured = [product]

    def rows() -> list[Row]:
        return [row(one, product, case, peak) for one in measured]

    for candidate in candidates:
        measured.append(prepare(candidate, case))
        write(rows())
    equal = [one for one, found in zip(measured[1:], rows()[1:], strict=True) if found.equal]
    if len(equal) > 1:
        measured.append(prepare(together("all together", [one.candidate for one in equal]), case))
    take_turns(measured, case, range(rounds), steps, lambda: write(rows()))
    faster = [found for one in equal if (found := row(one, product, case, peak)).verdict == "faster"]
    if len(faster) > 1:
        # The fastest last, as it counts where two change the same.
        names = [found.candidate for found in sorted(faster, key=lambda found: found.ratio or 0)]
        chosen = [one.candidate for name in names for one in equal if one.candidate.name == name]
        measured.append(prepare(together("the faster together", chosen), case))
        take_turns([product, measured[-1]], case, range(rounds, 2 * rounds), steps, lambda: write(rows()))
    look_inside(measured, case.device)
    write(rows())
    return rows()


def line(found: Row) -> str:
    """A row as text."""
    if found.milliseconds is None:
        return f"{found.candidate:20} {found.error}"
    inside = ""
    if found.of_losses is not None:
        inside = f"{found.of_losses:8.0e}{found.of_weights:8.0e} {'equal' if found.equal else 'OTHER'}"
    inside = f"{inside:22}"
    if found.of_matrix_rate is not None:
        inside += f"{found.of_matrix_rate:7.1%}"
    if found.operations is not None:
        inside += f"{found.operations:9.0f}{found.top_ten:9.0%}"
    return (
        f"{found.candidate:20} {found.milliseconds:9.3f} {found.ratio:7.3f} ({found.low:.3f} to {found.high:.3f}) "
        f"{found.verdict:8}{inside} {found.error}"
    ).rstrip()


def report(rows: Sequence[Row]) -> None:
    """Prints the table, and on a GPU the slowest kernels of the product and of the last candidate."""
    print(
        f"{'candidate':20} {'ms':>9} {'ratio (quartiles)':>23} {'':8}  losses weights       of rate  kernels  top ten"
    )
    print("\n".join(line(found) for found in rows))
    for found in (rows[0], rows[-1]):
        for name, milliseconds in (found.kernels or {}).items():
            print(f"    {found.candidate}: {milliseconds:8.4f} ms  {name[:90]}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", default="Medium")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--batch", type=int, default=5)
    names = [candidate.name for candidate in CANDIDATES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME")
    parser.add_argument("--without", nargs="+", choices=names, metavar="NAME", default=[])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, help="in a round; 20 on a GPU, 1 on the CPU")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--float32", action="store_true", help="compare in float32; not what the product trains in")
    parser.add_argument("--list", action="store_true", help="the candidates, and nothing else")
    record.add_option(parser)
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{one.name:20} {one.shows}{'' if one.standard else ' (with --only)'}" for one in CANDIDATES))
        return
    chosen = [one for one in CANDIDATES if (one.name in options.only if options.only else one.standard)]
    chosen = [one for one in chosen if one.name not in options.without]
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    if options.float32:
        torch.backends.cudnn.allow_tf32 = False
    steps = options.steps or (20 if device.type == "cuda" else 1)
    print(f"{device_name(device)}, torch {torch.__version__}")
    data, done = synthetic(device), list[Row]()

    def write(rows: Sequence[Row]) -> None:
        record.write(f"step_candidates-{device.type}", [asdict(found) for found in (*done, *rows)], options.json)

    for size in options.sizes.split(","):
        case = Case(size, options.crop, options.batch, data, device, options.float32)
        print(f"{size}, {case.batch} crops of {case.crop}, {options.rounds} rounds of {steps} steps")
        rows = measure(case, chosen, options.rounds, steps, write)
        done += rows
        report(rows)


if __name__ == "__main__":
    main()
