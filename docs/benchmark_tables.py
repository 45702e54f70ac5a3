"""Makes the tables of docs/explanation/benchmarks.md and README.md from ``benchmarks/results/*.json``.

A page has a table between ``<!-- table NAME -->`` and ``<!-- end -->``; NAME is a key of ``TABLES``. A benchmark
without a result gets a line that says so, with the command that measures it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from benchmarks.record import Value
from benchmarks.shotbench.page import FIGURES, cell
from benchmarks.shotbench.task import NAMES
from docs.markdown_tables import Results, number, table, unmeasured, with_sources

_MARKED = re.compile(r"(<!-- table (\S+) -->)(\n?).*?(<!-- end -->)", re.DOTALL)
# Wall time and CPU time of one run are nearly the same question; the page has both.
_FIGURES = tuple(figure for figure in FIGURES if figure[0] != "wall_seconds")
_TASKS = {"t1": "T1", "t2": "T2", "matte": "matte", "deblur": "deblur", "paintout": "paint-out"}


def fill(page: str, results: Results) -> str:
    """The page with every marked table replaced.

    Raises:
        KeyError: a marker names no table.
    """
    return _MARKED.sub(lambda match: f"{match[1]}{match[3]}{TABLES[match[2]](results)}{match[3]}{match[4]}", page)


# -- quality


_TOOLS = {
    "nothing": "doing nothing",
    "tpc2233": "tpc2233/tunet, U-Net 16",
    "emlcpfx": "emlcpfx/tunet, MSRN 16",
    "emlcpfx-paintout": "the same, Paintout / Cleanup",
    "copycat": "**copycat**, Small",
}
_PEERS = ("tpc2233", "emlcpfx", "emlcpfx-paintout")


def shotbench(results: Results) -> str:
    """Every task and tool of ShotBench: the mean of the runs and, of several, the least and the greatest."""
    rows, used = [], []
    for task in NAMES:
        for tool, label in _TOOLS.items():
            for limit in ("", "-120s"):
                if not (result := results.get(f"shotbench-{task}-{tool}{limit}")):
                    continue
                used.append(result)
                rows.append([_TASKS.get(task, task), label, *(cell(result, key, form) for key, _, form in _FIGURES)])
    filled = [index for index in range(len(rows[0])) if any(row[index] for row in rows)] if rows else []
    heads = ["task", "", *(heading for _, heading, _ in _FIGURES)]
    if not rows:
        return unmeasured("python -m benchmarks.shotbench")
    cells = [[row[index] for index in filled] for row in rows]
    return with_sources(table([heads[index] for index in filled], cells), used)


def real_shots(results: Results) -> str:
    """Five kinds of work on real shots."""
    work = {
        "deblur": "deblur, 1920x800, PSNR",
        "repair": "repair of a 40 px blemish, PSNR inside",
        "paintout": "paint-out, 768x432, PSNR inside",
        "matte": "matte, 640x360, mean absolute error",
    }
    rows, used = [], []
    for name, label in work.items():
        if not (result := results.get(f"real_shots-{name}")):
            continue
        used.append(result)
        row = result.rows[0]
        key, form = ("error", ".4f") if name == "matte" else ("psnr" if "psnr" in row else "inside", ".2f")
        outside = number(row.get("outside"), ".2f")
        flickers = [number(row.get(f"flicker{suffix}"), ".3f") for suffix in ("_nothing", "")]
        values = [number(row.get(key + suffix), form) for suffix in ("_nothing", "")]
        rows.append([label, *values, outside, *flickers, number(row.get("cpu_seconds"), ".0f")])
    if moved := results.get("moving_plate"):
        used.append(moved)
        for row in moved.rows:
            values = [number(row.get(key), ".2f") for key in ("inside_nothing", "inside", "outside")]
            flickers = [number(row.get(f"flicker{suffix}"), ".3f") for suffix in ("_nothing", "")]
            label = f"paint-out, 640x360, camera {row['shot']}, PSNR inside"
            rows.append([label, *values, *flickers, number(row.get("cpu_seconds"), ".0f")])
    head = ["work", "doing nothing", "copycat", "outside", "flicker, doing nothing", "flicker", "CPU-seconds"]
    return with_sources(table(head, rows), used)


def highlights(results: Results) -> str:
    """A grade of values far above white."""
    if not (result := results.get("real_shots-highlights")):
        return unmeasured("python -m benchmarks.real_shots SHOTS --only highlights --minutes 6")
    row = result.rows[0]
    cells = [number(row[key], form) for key, form in (("error_median", ".3f%"), ("error_99", ".2f%"))]
    for low, high in (("low", "high"), ("true_low", "true_high")):
        cells.append(f"{number(row[low], '.3f')} to {number(row[high], '.1f')}")
    head = ["relative error above 1: median", "99th percentile", "range of the result", "of the truth"]
    return with_sources(table(head, [cells]), [result])


def davis(results: Results) -> str:
    """Mattes on DAVIS-2016: the mean of each result."""
    rows, used = [], []
    for path in sorted(results.folder.glob("davis-*.json"), key=lambda path: (len(path.stem), path.stem)):
        result = results.get(path.stem)
        if not result or not (mean := result.row(sequence="mean")):
            continue
        used.append(result)
        painted, budget = path.stem.split("-")[1:3]
        cells = [number(mean.get(key), form) for key, form in (("j", ".1f"), ("f", ".1f"), ("error", ".4f"))]
        lowest = min((row for row in result.rows if row is not mean), key=lambda row: float(str(row["j"])))
        cells.insert(1, f"{number(lowest['j'], '.1f')} ({lowest['sequence']})")
        rows.append([painted, budget.replace("steps", " steps"), str(len(result.rows) - 1), *cells])
    if not used:
        return unmeasured("python -m benchmarks.davis DAVIS")
    head = ["painted frames", "training", "sequences", "J", "lowest J", "F", "mean absolute error"]
    return with_sources(table(head, rows), used)


def sizes_by_steps(results: Results) -> str:
    """Model sizes after as many steps."""
    if not (result := results.get("sizes-steps")):
        return unmeasured("python -m benchmarks.ablations.sizes SHOTS --by-steps --budgets 1500")
    shots = list(dict.fromkeys(str(row["shot"]) for row in result.rows))
    rows = []
    for size in dict.fromkeys(row["size"] for row in result.rows):
        cells = [number(result.row(size=size, shot=shot).get("psnr"), ".2f") for shot in shots]
        spent = [float(str(row["cpu_seconds"])) for row in result.rows if row["size"] == size]
        rows.append([str(size), *cells, f"{sum(spent) / len(spent):.0f}"])
    return with_sources(table(["PSNR", *(_TASKS[shot] for shot in shots), "CPU-seconds"], rows), [result])


def sizes_by_time(results: Results) -> str:
    """Model sizes after as much time."""
    if not (result := results.get("sizes")):
        return unmeasured("python -m benchmarks.ablations.sizes SHOTS")
    names = list(dict.fromkeys(str(row["size"]) for row in result.rows))
    rows = []
    for shot, budget in dict.fromkeys((str(row["shot"]), row["budget"]) for row in result.rows):
        cells = [f"{_TASKS[shot]}, {budget}"]
        for size in names:
            row = result.row(shot=shot, budget=budget, size=size)
            cells.append(f"{row['psnr']:.2f} ({row['steps']:.0f})" if row else "")
        rows.append(cells)
    return with_sources(table(["PSNR (steps) after CPU-seconds", *names], rows), [result])


def initial_weights(results: Results) -> str:
    """Shipped weights before any training, beside doing nothing, and after a short one, beside no weights."""
    names = dict.fromkeys(name for of, *_ in _WEIGHTS for name in of)
    measured = {name: result for name in names if (result := results.get(name))}
    if not measured:
        return unmeasured("python -m benchmarks.initial_weights")
    rows = []
    for of, case, work, trained_size, seconds, label in _WEIGHTS:
        form = ".4f" if case == "matte" else ".2f"
        found = [row for name in of if name in measured for row in measured[name].rows]
        found = [row for row in found if row["work"] == work and str(row["case"]).startswith(case)]
        if not found:
            continue
        before = [[row for row in found if (row["size"], row["budget"]) == (size, 0)] for size in _SIZES]
        trained = [row for row in found if (row["size"], row["budget"]) == (trained_size, seconds)]
        cells = [_average([row for rows in before for row in rows], "nothing", form)]
        cells += [_average(rows, "weights", form) for rows in before]
        cells += [f"{trained_size}, {seconds} s" if trained else ""]
        rows.append([label, *cells, *(_average(trained, name, form) for name in ("none", "weights"))])
    head = ["", "doing nothing", *_SIZES, "trained", "from None", "from the weights"]
    return with_sources(table(head, rows), list(measured.values()))


_SIZES = ("Small", "Medium", "Large")
_PEOPLE, _SEEDS = "initial_weights-human_matting", "initial_weights-human_matting_seeds"
_MEDIUM, _LARGE = "initial_weights-human_matting_medium", "initial_weights-human_matting_large"
_LATER = "initial_weights-human_matting_175"
_OTHERS = "initial_weights-other_mattes"
_DEBLUR = ("initial_weights-deblur", "initial_weights-deblur_seeds")
_BEFORE = ("initial_weights-upscale",)
_WEIGHTS = (
    (_DEBLUR, "deblur", "Deblur", "Small", 60, "Deblur, a Gaussian of sigma 2, one shot, three seeds"),
    (_BEFORE, "x2", "Upscale", "", 0, "Upscale, twice, mean of three shots"),
    (_BEFORE, "x4", "Upscale", "", 0, "Upscale, four times, the same"),
    (("initial_weights-matte",), "matte", "Human Matting", "", 0, "Human Matting, mean absolute error, one shot"),
    ((_PEOPLE, _SEEDS), "davis", "Human Matting", "Small", 45, "Human Matting, J, five shots with people, two seeds"),
    ((_LATER,), "davis", "Human Matting", "Small", 175, "Human Matting, J, the same shots, seeds 1 and 2"),
    ((_MEDIUM,), "davis", "Human Matting", "Medium", 45, "Human Matting, J, two of them"),
    ((_LARGE,), "davis", "Human Matting", "Large", 45, "Human Matting, J, the same two"),
    ((_OTHERS,), "davis", "Human Matting", "Small", 45, "Human Matting, J, five shots of animals and cars"),
)


def _average(rows: list[dict[str, Value]], name: str, form: str) -> str:
    values = [float(str(row[name])) for row in rows if row[name] is not None]
    return number(sum(values) / len(values), form) if values else ""


def on_a_gpu(results: Results) -> str:
    """T1 on a GPU, by wall time."""
    names = {
        "tpc2233": "tpc2233/tunet, U-Net 64",
        "emlcpfx": "emlcpfx/tunet, MSRN 64",
        "copycat": "**copycat**, Medium",
    }
    columns = [
        figure for figure in FIGURES if figure[0] in ("psnr", "psnr_in8", "inside", "outside", "flicker", "steps")
    ]
    rows, used = [], []
    for tool, label in names.items():
        if result := results.get(f"shotbench-t1-{tool}-120s-wall"):
            used.append(result)
            rows.append([label, *(cell(result, key, form) for key, _, form in columns)])
        else:
            rows.append([label, *(["not measured"] * len(columns))])
    return with_sources(table(["T1, 120 s", *(heading for _, heading, _ in columns)], rows), used)


# -- speed


def _span(rows: Iterable[dict[str, Value]], key: str, form: str) -> str:
    """The least and the greatest of a column."""
    values = sorted(float(str(row[key])) for row in rows)
    ends = dict.fromkeys(number(value, form) for value in (values[0], values[-1]))
    return " to ".join(ends)


def _training(rows: list[dict[str, Value]]) -> str:
    parts = []
    for crop in dict.fromkeys(str(row["crop"]) for row in rows):
        of_crop = [row for row in rows if str(row["crop"]) == crop]
        sizes = dict.fromkeys(str(row["size"]) for row in of_crop)
        rates = [f"{n} {_span([r for r in of_crop if r['size'] == n], 'steps_per_second', '.1f')}" for n in sizes]
        parts.append(
            f"crops of {crop}: {', '.join(rates)} steps/s, {_span(of_crop, 'ratio', '.2f')} times the plain loop"
        )
    return "; ".join(parts)


def _kernels(rows: list[dict[str, Value]]) -> str:
    ratios: dict[str, list[float]] = {}
    for row in rows:
        if isinstance(found := row["faster_than"], dict) and "torch" in found:
            ratios.setdefault(str(row["name"]).split()[0].rstrip(","), []).append(found["torch"])
    return "times torch eager: " + ", ".join(f"{n} {min(v):.1f} to {max(v):.1f}" for n, v in ratios.items())


def _inference(rows: list[dict[str, Value]]) -> str:
    untiled = [row for row in rows if not row.get("tile") and not row.get("sequence") and not row.get("tool")]
    parts = [
        f"{row['size']}, {row['resolution']}, {'half' if row['half'] else 'float32'} "
        f"{1 / float(str(row['seconds'])):.2f}"
        for row in untiled
    ]
    peers = [row for row in rows if row.get("tool")]
    beside = f"; in float32 onnxruntime takes {_span(peers, 'ratio', '.1f')} times as long" if peers else ""
    return "; ".join(parts) + " frames/s" + beside


def _processes(rows: list[dict[str, Value]]) -> str:
    parts = [f"{row['size']} {row['processes']} x {row['threads']} {row['milliseconds']:.0f} ms" for row in rows]
    return ", ".join(parts)


def _memory(rows: list[dict[str, Value]]) -> str:
    times = {(row["case"], row["kept"]): float(str(row["milliseconds"])) for row in rows}
    less = [{"less": 1 - times[case, True] / times[case, False]} for case, kept in times if kept]
    return f"{_span(less, 'less', '.0f%')} less CPU time"


def _plugin(rows: list[dict[str, Value]]) -> str:
    render, pairs = rows
    return f"{render['beyond ms']:.1f} ms beyond the network; pairs at {pairs['median GB/s']:.2f} GB/s"


def _shot_view(rows: list[dict[str, Value]]) -> str:
    row = rows[0]
    cost = float(str(row["cost"]))
    loss = f"the training loses {cost:.1%} of its speed" if cost > 0 else "the training is as fast as alone"
    return f"{row['size']}: {row['seconds']:.2f} s, beside a training {row['seconds_training']:.2f} s; {loss}"


def _plate(rows: list[dict[str, Value]]) -> str:
    parts = [f"{row['shot']}, {row['width']}x{row['height']}: {row['plate_cpu']:.1f}" for row in rows]
    return f"{'; '.join(parts)} CPU-seconds ({_span(rows, 'share', '.1f')} times a render by Small in float32)"


# Result: what it asks, and its numbers in one line.
_SPEED: dict[str, tuple[str, Callable[[list[dict[str, Value]]], str]]] = {
    "bench_training-cpu": ("a training step on the CPU, against a plain eager loop", _training),
    "bench_training-cuda": ("the same on a GPU", _training),
    "bench_conv3x3": (
        "3x3 convolutions on the CPU, forward and backward",
        lambda rows: f"{_span(rows, 'ratio', '.2f')} times torch",
    ),
    "bench_distributed": ("a step of several processes x threads", _processes),
    "bench_kernels-cpu": ("kernels on the CPU", _kernels),
    "bench_kernels-cuda": ("kernels on a GPU", _kernels),
    "bench_inference-cpu": ("a frame on the CPU, whole", _inference),
    "bench_inference-cuda": ("a frame on a GPU, whole", _inference),
    "bench_memory": ("freed memory that stays with the process", _memory),
    "bench_plate": ("a clean plate that moves, of twelve painted frames", _plate),
    "bench_shot_view": ("an HD frame in Shot view, from asking to the picture", _shot_view),
    "bench_plugin": ("the way through plugin and worker, UHD", _plugin),
}


def speed(results: Results) -> str:
    """One line for each benchmark of speed, and which were not run with the present code."""
    lines, used, missing = [], [], []
    for name, (question, summary) in _SPEED.items():
        module, _, device = name.partition("-")
        command = f"`{module}{f' --device {device}' if device else ''}`"
        if result := results.get(name):
            lines.append([question, command, summary(result.rows)])
            used.append(result)
        else:
            missing.append(command)
    text = with_sources(table(["", "`python -m benchmarks.`", ""], lines), used)
    return f"{text}  \nNot measured with the present code: {', '.join(missing)}." if missing else text


# -- README


def readme(results: Results) -> str:
    """The README's table."""
    rows = []
    labels = {
        "t1": "restore 960x540 (T1: defocus, grade, crosses)",
        "t2": "keyed look 1280x544 (T2)",
        "paintout": "paint a person out of a locked-off shot, inside the patch",
    }
    for task, label in labels.items():
        ours, nothing = (_mean(results, task, tool) for tool in ("copycat", "nothing"))
        peers = [row for tool in _PEERS if (row := _mean(results, task, tool))]
        if not (ours and nothing and peers):
            continue
        key = "inside" if task == "paintout" else "psnr"
        best = max(peers, key=lambda row: float(str(row[key])))
        edge = f" ({best['psnr_in8']:.1f} without the frame's edge)" if key == "psnr" else ""
        after = f"{ours[key]:.1f} dB after {ours['cpu_seconds']:.0f} CPU-seconds"
        rival = f"{best[key]:.1f} dB{edge} after {best['cpu_seconds']:.0f} CPU-seconds"
        rows.append([label, f"{nothing[key]:.1f} dB", rival, after])
    shots = {
        "deblur": ("deblur 1920x800 from 5 frames", "psnr", ".1f", " dB"),
        "repair": ("repair a blemish of 40 pixels, inside it", "inside", ".1f", " dB"),
        "matte": ("matte 640x360 from 5 frames, mean error", "error", ".4f", ""),
    }
    for name, (label, key, form, unit) in shots.items():
        if result := results.get(f"real_shots-{name}"):
            row = result.rows[0]
            nothing_, ours_ = (number(row[k], form) + unit for k in (f"{key}_nothing", key))
            rows.append([label, nothing_, "–", f"{ours_} after {row['cpu_seconds']:.0f} CPU-seconds"])
    return table(["", "doing nothing", "best peer", "copycat"], rows)


def _mean(results: Results, task: str, tool: str) -> dict[str, Value]:
    result = results.get(f"shotbench-{task}-{tool}")
    return result.row(run="mean") if result else {}


def demo(results: Results) -> str:
    """What ``make demo`` gains, as a part of a sentence."""
    if not (result := results.get("demo")):
        return "not measured"
    row = result.rows[0]
    return f"from {row['before']:.1f} to {row['after']:.1f} dB"


def demo_table(results: Results) -> str:
    """What ``make demo`` gains."""
    if not (result := results.get("demo")):
        return unmeasured("make demo")
    row = result.rows[0]
    cells = [number(row["before"], ".2f"), number(row["after"], ".2f"), number(row["wall_seconds"], ".0f")]
    return with_sources(table([f"PSNR of {row['frames']} frames: before", "after", "seconds"], [cells]), [result])


_ALL = (shotbench, real_shots, highlights, sizes_by_steps, sizes_by_time, initial_weights)
_ALL += (davis, on_a_gpu, speed, readme, demo, demo_table)
TABLES: dict[str, Callable[[Results], str]] = {make.__name__.replace("_", "-"): make for make in _ALL}
