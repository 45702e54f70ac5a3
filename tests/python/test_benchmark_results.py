"""Results of benchmarks: how they are written, and the pages made from them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from copycat import ops
from copycat.model.network import ROWS
from copycat.sequence import ImageSequence, write_frame
from copycat.sequence.pairs import Pair

from benchmarks import bench_conv3x3, bench_training, record
from benchmarks.ablations import recipe
from docs.benchmark_tables import TABLES, fill
from docs.markdown_tables import Results

ROOT = Path(__file__).parents[2]
BENCHMARKS = [*ROOT.glob("benchmarks/bench_*.py"), *ROOT.glob("benchmarks/ablations/[a-z]*.py")]
BENCHMARKS += [ROOT / f"benchmarks/{name}.py" for name in ("shotbench/__main__", "davis", "real_shots", "moving_plate")]
RGB = ("R", "G", "B")


def run(monkeypatch: pytest.MonkeyPatch, main: object, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
    main()  # type: ignore[operator]


def test_a_result_says_where_its_numbers_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "t1", "--shots", "/somewhere/of/mine/shots", "--budget", "3"])
    path = record.write("try", [{"psnr": 1.5, "name": "a"}, {"psnr": None}], tmp_path / "new/try.json")
    result = record.read(path)
    assert result.rows == [{"psnr": 1.5, "name": "a"}, {"psnr": None}]
    assert result.command.endswith("t1 --shots shots --budget 3")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result.date)
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", result.commit)
    assert {"cpu", "cores", "memory_gib", "torch", "instructions"} <= set(result.machine)
    assert result.name == "try"
    assert "name" not in json.loads(path.read_text())


def test_the_commit_comes_from_the_environment_where_there_is_no_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("COPYCAT_COMMIT", "abc1234")
    assert record.commit() == "abc1234"


def test_the_default_file_lies_with_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "FOLDER", tmp_path / "results")
    assert record.write("try", []) == tmp_path / "results/try.json"
    assert record.read(tmp_path / "results/try.json").rows == []


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_writes_a_result(path: Path) -> None:
    text = path.read_text()
    assert "record.write(" in text
    assert "record.add_option(" in text or "--results" in text or '"--json"' in text or "options(parser)" in text


def test_the_speed_of_a_training_step_gets_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PAIRS", 2), ("HEIGHT", 64), ("WIDTH", 64)):
        monkeypatch.setattr(bench_training, name, value)
    words = ["--device", "cpu", "--sizes", "Small", "--crops", "32", "--batches", "1", "--threads", "1", "--steps", "1"]
    run(monkeypatch, bench_training.main, *words, "--json", tmp_path / "bench_training-cpu.json")
    (row,) = record.read(tmp_path / "bench_training-cpu.json").rows
    assert (row["size"], row["crop"], row["batch"]) == ("Small", 32, 1)
    assert isinstance(row["ratio"], float)
    assert f"{row['ratio']:.2f} times the plain loop" in TABLES["speed"](Results(tmp_path))


@pytest.mark.skipif(not ops.conv3x3_is_fast(torch.float32), reason="this processor uses torch's convolutions")
def test_the_speed_of_convolutions_gets_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_conv3x3, "CROP", 32)
    monkeypatch.setattr(bench_conv3x3, "ROUNDS", 1)
    words = ["--dtypes", "float32", "--sizes", "Small", "--json", tmp_path / "bench_conv3x3.json"]
    run(monkeypatch, bench_conv3x3.main, *words)
    rows = record.read(tmp_path / "bench_conv3x3.json").rows
    assert [row["channels"] for row in rows] == list(ROWS["Small"].widths)
    assert " times torch" in TABLES["speed"](Results(tmp_path))


def test_a_task_of_shotbench_gets_a_row_for_each_tool(tmp_path: Path) -> None:
    for tool, runs in (("nothing", [20.0]), ("copycat", [40.0, 42.0])):
        rows = [{"run": str(number), "psnr": psnr} for number, psnr in enumerate(runs)]
        mean = {"run": "mean", "psnr": sum(runs) / len(runs), "cpu_seconds": 100.0}
        record.write("", [*rows, mean], tmp_path / f"shotbench-t1-{tool}.json")
    text = TABLES["shotbench"](Results(tmp_path))
    assert "| task |  | PSNR | CPU-seconds |" in text
    assert "| T1 | doing nothing | 20.00 | 100 |" in text
    assert "| T1 | **copycat**, Small | 41.00 (40.00 to 42.00) | 100 |" in text


def test_an_ablation_trains_and_writes_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for frame in (1, 2):
        source = random.random((32, 32, 3), np.float32)
        write_frame(tmp_path / f"input.{frame:04d}.exr", source, RGB)
        write_frame(tmp_path / f"truth.{frame:04d}.exr", source * 0.5, RGB)
    source, truth = (ImageSequence.parse(tmp_path / f"{side}.%04d.exr") for side in ("input", "truth"))
    task = recipe.Task(Pair(str(source), str(truth)), "all", source, truth, None, (1,), {"crop_size": 32})
    monkeypatch.setattr(recipe.Task, "of", lambda *_: task)
    monkeypatch.setattr(recipe, "VARIANTS", {"chosen": recipe.Variant({"model_size": "Small"})})
    run(monkeypatch, recipe.main, "t1", "--budget", "0.3", "--only", "chosen", "--json", tmp_path / "recipe.json")
    (row,) = record.read(tmp_path / "recipe.json").rows
    assert (row["variant"], row["budget"], row["seeds"]) == ("chosen", 0.3, 1)
    assert {"steps", "cpu_seconds", "psnr"} <= set(row)


def test_a_page_without_results_says_what_was_not_measured(tmp_path: Path) -> None:
    for name, make in TABLES.items():
        text = make(Results(tmp_path))
        assert "None" not in text, name
    assert "Not measured with the present code" in TABLES["speed"](Results(tmp_path))


def test_only_marked_tables_change(tmp_path: Path) -> None:
    page = "before\n<!-- table demo-table -->\nold\n<!-- end -->\nbetween <!-- table demo -->old<!-- end --> after\n"
    filled = fill(page, Results(tmp_path))
    assert "old" not in filled
    assert filled.startswith("before\n<!-- table demo-table -->\n*Not measured")
    assert filled.endswith("\n<!-- end -->\nbetween <!-- table demo -->not measured<!-- end --> after\n")
    with pytest.raises(KeyError):
        fill("<!-- table other --><!-- end -->", Results(tmp_path))


def test_pages_use_the_results_and_every_table() -> None:
    pages = [(ROOT / name).read_text() for name in ("docs/explanation/benchmarks.md", "README.md")]
    assert set(re.findall(r"<!-- table (\S+) -->", "".join(pages))) == set(TABLES)
    results = Results()
    for page in pages:
        assert fill(page, results) == page, "run make docs"
    assert len(pages[0].splitlines()) <= 250
