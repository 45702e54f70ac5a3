"""Frames read ahead and written behind, in threads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from copycat.sequence import SequenceError, Writer, read_frame, read_frames_parallel, stream, write_frame

RGB = ("R", "G", "B")


def frames(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"p.{i:04d}.exr" for i in range(count)]
    for i, path in enumerate(paths):
        write_frame(path, np.full((20, 30, 3), i, np.float32), RGB)
    return paths


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("look_ahead", [None, 0, 1, 30])
def test_frames_come_in_order(tmp_path: Path, threads: int, look_ahead: int | None) -> None:
    paths = frames(tmp_path, 12)
    paths = paths[::-1] + paths
    read = read_frames_parallel(paths, ["G"], np.float16, threads=threads, look_ahead=look_ahead)
    values = [(frame.info.path, float(frame.pixels.min()), float(frame.pixels.max())) for frame in read]
    assert values == [(path, v, v) for path, v in zip(paths, [*range(11, -1, -1), *range(12)], strict=True)]


def test_frames_go_into_a_bank(tmp_path: Path) -> None:
    bank = np.full((7, 20, 30, 3), -1, np.float16)
    for index, frame in enumerate(read_frames_parallel(frames(tmp_path, 7), RGB, out=bank, threads=3)):
        assert frame.pixels.base is bank
        assert np.all(bank[index] == index)
    assert np.array_equal(bank[:, 0, 0, 0], np.arange(7))


def test_an_error_comes_in_place_of_its_frame(tmp_path: Path) -> None:
    paths = frames(tmp_path, 8)
    paths[5].unlink()
    read = read_frames_parallel(paths, RGB, threads=4, look_ahead=8)
    assert [next(read).info.path for _ in range(5)] == paths[:5]
    with pytest.raises(SequenceError, match=r"p\.0005\.exr does not exist"):
        next(read)


def test_no_more_is_read_than_the_look_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def counted(path: Path, *args: object, **options: bool) -> object:
        started.append(path.name)
        return read_frame(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(stream, "read_frame", counted)
    read = read_frames_parallel(frames(tmp_path, 20), RGB, threads=2, look_ahead=3)
    next(read)
    assert len(started) <= 4
    read.close()
    assert len(started) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("copycat-read")]


def test_nothing_to_read(tmp_path: Path) -> None:
    assert list(read_frames_parallel([], RGB)) == []


def test_all_frames_are_on_disk_when_the_writer_closes(tmp_path: Path) -> None:
    with Writer(threads=3) as writer:
        for i in range(20):
            writer.submit(tmp_path / f"o.{i:04d}.exr", np.full((20, 30, 3), i, np.float32), RGB)
    assert len(os.listdir(tmp_path)) == 20
    for i in range(20):
        assert np.all(read_frame(tmp_path / f"o.{i:04d}.exr", RGB).pixels == i)


def test_the_writer_takes_the_arguments_of_write_frame(tmp_path: Path) -> None:
    path = frames(tmp_path, 1)[0]
    like = read_frame(path, RGB).info
    with Writer() as writer:
        one = np.ones((20, 30, 1), np.float32)
        writer.submit(tmp_path / "o.exr", one, ["R"], like=like, dtype="float", passthrough=True, compression="zips")
    frame = read_frame(tmp_path / "o.exr", RGB)
    assert frame.pixels[0, 0].tolist() == [1, 0, 0]
    assert frame.info.parts[0].spec.get_string_attribute("compression") == "zips"


def test_submit_waits_when_too_much_is_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, has_started, most = threading.Semaphore(0), threading.Semaphore(0), 3
    submitted: list[int] = []

    def slow(*args: object, **options: object) -> None:
        has_started.release()
        gate.acquire()

    monkeypatch.setattr(stream, "write_whole_frame", slow)
    writer = Writer(threads=1, pending=most)

    def submit_all() -> None:
        for i in range(6):
            writer.submit("x.exr", np.zeros((1, 1, 3)), RGB)
            submitted.append(i)

    producer = threading.Thread(target=submit_all)
    producer.start()
    has_started.acquire()
    while len(submitted) < most:
        assert producer.is_alive()
    for released in range(6):
        assert len(submitted) <= most + released
        gate.release()
    producer.join()
    writer.close()
    assert submitted == list(range(6))


def submit(writer: Writer, path: Path, times: int = 1) -> None:
    for _ in range(times):
        writer.submit(path, np.zeros((4, 4, 3), np.float32), RGB)


def test_a_failure_is_raised_by_a_later_submit(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = Writer(threads=1, pending=1)
    with pytest.raises(SequenceError, match=r"file/o\.exr cannot be written"):
        submit(writer, tmp_path / "file" / "o.exr", times=3)
    writer.close()


def test_a_failure_is_raised_on_leaving(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SequenceError, match=r"file/o\.exr cannot be written"), Writer() as writer:
        submit(writer, tmp_path / "file" / "o.exr")


def test_an_error_of_the_caller_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def body() -> None:
        with Writer() as writer:
            submit(writer, tmp_path / "good.exr")
            submit(writer, tmp_path / "file" / "o.exr")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert (tmp_path / "good.exr").exists()
