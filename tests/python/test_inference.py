"""Applying a model: tiles equal the whole, files keep what they had, memory stays bounded.

Over 400 lines: Model, its tiles and the sequence around it share their model and pictures.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch
from conftest import Outcome, Shot, environment, picture, random_model, write_shot
from copycat.data import devices
from copycat.inference.model import InferenceError, Model, load
from copycat.inference.render import infer
from copycat.model import tiles
from copycat.model.network import ROWS, Network
from copycat.sequence import read_frame, write_frame

CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path: Path, tiny: None) -> Model:
    """Random weights throughout, scene-linear encoding."""
    return Model(random_model(tmp_path / "model.cat", log_scale=20.0), CPU)


# -- tiles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(700, 333), (257, 650), (301, 47), (640, 512)])
@pytest.mark.parametrize(("tile_size", "overlap"), [(256, 0), (320, 1), (480, 200), (1024, 0)])
def test_tiled_equals_whole(model: Model, width: int, height: int, tile_size: int, overlap: int) -> None:
    image = picture(1, (width, height)) * 4 - 0.1
    whole, tiled = model(image), model(image, tile_size=tile_size, tile_overlap=overlap)
    assert np.abs(whole - image).max() > 0.01
    # Relative to the values: the signed log's inverse turns the last bit of 4 into more than that of 1.
    assert np.abs(whole - tiled).max() <= 1e-5 * max(1.0, float(np.abs(whole).max()))


@pytest.mark.parametrize("size", ["Small", "Medium", "Large"])
def test_a_real_network_tiled_equals_whole(size: str, tmp_path: Path, one_thread: None) -> None:
    real = Model(random_model(tmp_path / "real.cat", size=size), CPU)
    reach = real.network.receptive_field
    image = picture(1, (2 * reach + 150, 90))
    assert np.abs(real(image) - real(image, tile_size=2 * reach + 64)).max() <= 1e-5


@pytest.mark.parametrize("tile_size", [0, 256])
def test_the_result_goes_to_the_given_array(model: Model, tile_size: int) -> None:
    image = picture(1, (400, 300))
    expected = model(image, tile_size=tile_size)
    shared = np.zeros((300, 400, 4), np.float32)
    shared[..., :3] = image
    planes = torch.from_numpy(shared).permute(2, 0, 1)[:3]
    result = model(
        planes, tile_size=tile_size, out=planes
    )  # the image's own memory, every fourth number of it another's
    assert result is planes
    np.testing.assert_array_equal(shared[..., :3], expected)
    assert (shared[..., 3] == 0).all()
    elsewhere = np.empty_like(image)
    assert model(image, tile_size=tile_size, out=elsewhere) is elsewhere
    np.testing.assert_array_equal(elsewhere, expected)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    np.testing.assert_array_equal(model(batch, tile_size=tile_size, out=batch)[1].permute(1, 2, 0).numpy(), expected)


def test_a_place_that_does_not_fit_is_refused(model: Model) -> None:
    image = picture(1, (40, 30))
    with pytest.raises(InferenceError, match=r"\(3, 30, 40\) in float32"):
        model(image, out=np.empty((30, 41, 3), np.float32))
    with pytest.raises(InferenceError, match="float64"):
        model(image, out=np.empty((30, 40, 3)))


@pytest.mark.parametrize("overlap", [0, 1, 40, 500])
def test_tiles_cover_the_frame_once_and_see_enough(overlap: int, tiny: None) -> None:
    network = Network(ROWS["Small"], 3, (0, 1, 2))
    reach = max(network.receptive_field, -(-overlap // network.stride) * network.stride)
    covered = np.zeros((333, 701), int)
    for (y0, x0, y1, x1), (top, left, bottom, right) in tiles.tile_boxes(
        333, 701, 2 * reach + 64, reach, network.stride
    ):
        covered[y0:y1, x0:x1] += 1
        assert y0 % network.stride == x0 % network.stride == 0
        assert top % network.stride == left % network.stride == 0
        assert top == max(0, y0 - reach)
        assert left == max(0, x0 - reach)
        assert bottom == min(333, y1 + reach)
        assert right == min(701, x1 + reach)
    assert (covered == 1).all()


def test_a_render_can_be_cancelled_between_tiles(model: Model) -> None:
    asked = []
    with pytest.raises(tiles.CancelledError):
        model(picture(1, (900, 600)), tile_size=256, cancel=lambda: bool(asked.append(1) or len(asked) > 2))
    assert len(asked) == 3


# -- images in memory -----------------------------------------------------------------------------------------------


def test_numpy_and_torch_layouts_agree(model: Model) -> None:
    image = picture(1, (70, 50))
    result = model(image)
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == ((50, 70, 3), np.float32)
    planes = torch.from_numpy(image).movedim(-1, 0)
    one = model(planes)
    assert (tuple(one.shape), one.dtype) == ((3, 50, 70), torch.float32)
    np.testing.assert_allclose(one.movedim(0, -1).numpy(), result, atol=1e-6)
    two = model(torch.stack([planes, planes.flip(-1)]))
    assert tuple(two.shape) == (2, 3, 50, 70)
    assert torch.equal(two[0], one)
    for view in (image.astype(np.float16), np.asfortranarray(image), image[::-1][::-1]):
        np.testing.assert_allclose(model(view), result, atol=0.05)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 4), (64, 64, 1)])
def test_an_image_of_other_channels(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises((InferenceError, ValueError), match=r"takes 3 channels \(R,G,B\), the image is of shape"):
        model(np.zeros(shape, np.float32))


def test_half_precision_is_close(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copycat.ops.cpu_has_bfloat16", lambda: True)
    half = Model(model.path, CPU, half_precision=True)
    image = picture(1)
    whole = model(image)
    assert half.dtype == torch.bfloat16
    assert half(image).dtype == np.float32
    assert 0 < np.abs(half(image) - whole).mean() < 0.03 * np.abs(whole).mean()


def test_half_precision_is_not_emulated(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copycat.ops.cpu_has_bfloat16", lambda: False)
    assert Model(model.path, CPU, half_precision=True).dtype == torch.float32


def test_load_says_what_it_loaded(model: Model) -> None:
    loaded = load(model.path, "cpu", half_precision=True)
    assert (loaded.channels_in, loaded.channels_out, loaded.step) == (("R", "G", "B"), ("R", "G", "B"), 100)
    assert loaded.device == CPU


# -- memory -------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes networks fail above so many pixels."""

    def limit(pixels: int) -> None:
        real = Network.forward

        def forward(self: Network, x: torch.Tensor, where: torch.Tensor | None) -> torch.Tensor:
            if x.shape[-1] * x.shape[-2] > pixels:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
            return real(self, x, where)

        monkeypatch.setattr(Network, "forward", forward)

    return limit


def test_out_of_memory_falls_back_to_smaller_tiles_and_says_so(
    model: Model, short_of_memory: Callable[[int], None]
) -> None:
    image = picture(1, (700, 600))
    whole = model(image)
    short_of_memory(300 * 300)
    said: list[str] = []
    np.testing.assert_allclose(model(image, warn=said.append), whole, atol=1e-4)
    assert said == [f"memory is short: rendering in tiles of {size} pixels" for size in (512, 256)]
    np.testing.assert_allclose(model(image, tile_size=1024, warn=said.append), whole, atol=1e-4)
    assert len(said) == 2  # it remembers


def test_no_memory_even_for_a_small_tile(model: Model, short_of_memory: Callable[[int], None]) -> None:
    short_of_memory(1000)
    with pytest.raises(InferenceError, match="not enough memory for a tile of 256 pixels"):
        model(picture(1, (700, 600)))


def test_a_frame_that_would_not_fit_is_cut_up_before_it_is_tried(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = []
    real = Network.forward

    def forward(self: Network, x: torch.Tensor, where: torch.Tensor | None) -> torch.Tensor:
        largest.append(max(x.shape[-2:]))
        return real(self, x, where)

    monkeypatch.setattr(Network, "forward", forward)
    monkeypatch.setattr("copycat.inference.model.free_memory", lambda: 50_000_000)
    model(picture(1, (1400, 600)))
    assert max(largest) <= 1024


def test_another_error_is_not_taken_for_a_lack_of_memory(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Network, x: torch.Tensor, where: torch.Tensor | None) -> torch.Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Network, "forward", forward)
    with pytest.raises(RuntimeError, match="a bug"):
        model(picture(1))


# The kernel's own high-water mark: what getrusage says begins with the parent's.
PEAK = """
import sys
def peak():
    lines = open('/proc/self/status').read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM'))
"""
MEASURE = f"""{PEAK}
from copycat.cli import main
try:
    main(sys.argv[1:])
finally:
    print('PEAK', peak())
"""


@pytest.mark.long
@pytest.mark.parametrize("size", ["Small", "Medium", "Large"])
def test_uhd_in_tiles_of_1024_stays_below_three_gib(size: str, tmp_path: Path) -> None:
    model = random_model(tmp_path / "m.cat", size=size)
    write_frame(tmp_path / "plate.exr", picture(1, (3840, 2160)), ("R", "G", "B"))
    command = ["infer", model, tmp_path / "plate.exr", tmp_path / "out.exr", "--tile-size", 1024]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, command)], env=environment(), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split("PEAK")[1]) / 2**30
    print(f"{size}: {peak:.2f} GiB")
    assert peak < 3


READ = f"""{PEAK}
from copycat.settings.tables import Settings
from copycat.data.dataset import load_dataset
from copycat.sequence.pairs import find_frames, Pair
import torch
folder = sys.argv[1]
before = peak()
frames = find_frames([Pair(folder + '/plate.%04d.exr', folder + '/clean.%04d.exr')])
data = load_dataset(frames, Settings(bank='host'))
bank = data.input_bank.nbytes + data.target_bank.nbytes
print((peak() - before) / bank, bank)
"""


@pytest.mark.long
def test_reading_twenty_uhd_pairs_peaks_little_above_the_bank(tmp_path: Path) -> None:
    shot = write_shot(tmp_path, (1001,), size=(3840, 2160))
    for frame in range(1002, 1021):
        for name in ("plate", "clean"):
            (tmp_path / f"{name}.{frame}.exr").symlink_to(tmp_path / f"{name}.1001.exr")
    done = subprocess.run([sys.executable, "-c", READ, shot.folder], env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert float(done.stdout.split()[0]) <= 1.3


# -- sequences ----------------------------------------------------------------------------------------------------


def test_a_sequence_is_rendered(model: Model, shot: Shot, tmp_path: Path) -> None:
    written = infer(model, shot.input, tmp_path / "new/out.####.exr", frames="1002-1004x2")
    assert [path.name for path in written] == ["out.1002.exr", "out.1004.exr"]
    plate = read_frame(shot.folder / "plate.1004.exr", ["R", "G", "B"])
    result = read_frame(written[1], ["R", "G", "B"])
    assert result.info.dtype == "half"
    np.testing.assert_allclose(result.pixels, model(plate.pixels), rtol=2e-3, atol=2e-3)
    assert [path.name for path in infer(model, shot.input, tmp_path / "o.%04d.exr", frames=[1003])] == ["o.1003.exr"]


def test_no_frames(model: Model, shot: Shot, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no frame of the plate was selected"):
        infer(model, shot.input, tmp_path / "o.%04d.exr", frames=[])


def test_a_single_file(model: Model, shot: Shot, tmp_path: Path) -> None:
    written = infer(model, shot.folder / "plate.1003.exr", tmp_path / "still.exr")
    assert written == [tmp_path / "still.exr"]
    assert read_frame(written[0], ["R"]).info.width == 64


@pytest.mark.parametrize(("source", "target"), [("png", "png"), ("png", "exr"), ("exr", "png"), ("tif", "tif")])
def test_other_formats(model: Model, tmp_path: Path, source: str, target: str) -> None:
    shot = write_shot(tmp_path / "shot", (1001, 1002), extension=source)
    written = infer(model, shot.input, tmp_path / f"out.%04d.{target}")
    plate = read_frame(shot.folder / f"plate.1002.{source}", ["R", "G", "B"]).pixels
    result = read_frame(written[1], ["R", "G", "B"]).pixels
    expected = model(plate) if target == "exr" else np.clip(model(plate), 0, 1)
    np.testing.assert_allclose(result, expected, rtol=2e-3, atol=3e-3)


@pytest.fixture
def rich_plate(tmp_path: Path) -> Path:
    """Overscan on the left, a window inside on the right, an extra channel, metadata, PIZ."""
    path = tmp_path / "rich.1001.exr"
    spec = oiio.ImageSpec(60, 44, 5, "half")
    spec.channelnames = ("R", "G", "B", "A", "id.X")
    spec.x, spec.y, spec.full_x, spec.full_y, spec.full_width, spec.full_height = -8, 20, 0, 10, 64, 64
    spec.attribute("smpte:TimeCode", oiio.TypeDesc("timecode"), (0x01020304, 0))
    spec.attribute("camera", "B-Cam")
    spec.attribute("compression", "piz")
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec)
    out.write_image(picture(5, (60, 44), 5))
    out.close()
    return path


def header(path: Path) -> oiio.ImageSpec:
    source = oiio.ImageInput.open(str(path))
    spec = source.spec()
    source.close()
    return spec


@pytest.mark.parametrize("passthrough", [False, True])
def test_windows_metadata_and_other_channels_are_kept(
    model: Model, rich_plate: Path, tmp_path: Path, passthrough: bool
) -> None:
    out = tmp_path / "out.exr"
    infer(model, rich_plate, out, passthrough=passthrough)
    old, new = header(rich_plate), header(out)
    assert (new.full_x, new.full_y, new.full_width, new.full_height) == (0, 10, 64, 64)
    assert (new.y, new.height, new.x + new.width) == (20, 44, 52)
    assert new.getattribute("camera") == "B-Cam"
    assert new.getattribute("compression") == "piz"
    assert new.getattribute("smpte:TimeCode") == old.getattribute("smpte:TimeCode")
    if passthrough:
        assert tuple(new.channelnames) == tuple(old.channelnames)
        before, after = (read_frame(path, ["A", "id.X"]).pixels for path in (rich_plate, out))
        np.testing.assert_array_equal(before, after)
    else:
        assert set(new.channelnames) == {"R", "G", "B"}
    assert (new.x, new.width) == (old.x, old.width)
    plate, result = (read_frame(path, ["R", "G", "B"], overscan=True) for path in (rich_plate, out))
    assert (plate.valid, plate.origin) == (result.valid, result.origin)
    window = (
        slice(10, 54),
        slice(0, 60),
    )  # of the data window in the picture, which begins at its left and display top
    np.testing.assert_allclose(result.pixels[window], model(plate.pixels)[window], rtol=2e-3, atol=2e-3)


def test_the_command_renders_half_precision_in_tiles(
    model: Model, shot: Shot, tmp_path: Path, copycat: Callable[..., Outcome]
) -> None:
    status, out, err = copycat(
        "infer", model.path, shot.input, tmp_path / "out.%04d.exr", "--frames", "1001-1002",
        "--half-precision", "--tile-size", 1024, "--tile-overlap", 7, "--compression", "zips",
    )  # fmt: skip
    assert status == 0, err
    assert "[Frame:2/2] 1002" in out
    assert f"2 frames written: {tmp_path}/out.1001.exr ... out.1002.exr" in out
    assert header(tmp_path / "out.1002.exr").getattribute("compression") == "zips"


def test_a_callers_warning_is_passed_on(
    model: Model, shot: Shot, tmp_path: Path, copycat: Callable[..., Outcome], short_of_memory: Callable[[int], None]
) -> None:
    short_of_memory(300 * 300)
    write_frame(tmp_path / "large.exr", picture(1, (400, 400)), ("R", "G", "B"))
    status, out, err = copycat("infer", model.path, tmp_path / "large.exr", tmp_path / "out.exr")
    assert status == 0, err
    assert "warning: frame 1: memory is short: rendering in tiles of 256 pixels" in out


@pytest.mark.parametrize(
    ("version", "reason"), [("", "copycat was built without CUDA"), ("13.0", "its driver is too old for CUDA 13.0")]
)
def test_a_gpu_that_the_kernels_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch, version: str, reason: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.ops, "cuda_available", lambda: False)
    monkeypatch.setattr(devices.ops, "build_info", lambda: {"cuda_version": version})
    assert devices.choose_device(True) == (CPU, f"the GPU cannot be used: {reason}; using the CPU")
    assert devices.choose_device(False) == (CPU, "")


# -- on a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(("half", "tolerance"), [(False, 2e-3), (True, 1.2e-2)])
@pytest.mark.parametrize("size", ["Small", "Medium", "Large"])
def test_on_a_gpu_a_frame_is_the_cpu_s(size: str, half: bool, tolerance: float, tmp_path: Path) -> None:
    path, image = random_model(tmp_path / "real.cat", size=size), picture(1, (330, 270))
    on_cpu = Model(path, CPU)(image)
    on_gpu = Model(path, torch.device("cuda", 0), half)
    whole, tiled = on_gpu(image), on_gpu(image, tile_size=256)
    # The convolutions compute in TF32 or bfloat16 there; what counts is how far that is from what the model changes.
    change = np.abs(on_cpu - image).max()
    assert np.abs(whole - on_cpu).max() < tolerance * max(1.0, change)
    assert np.abs(tiled - whole).max() < tolerance * max(1.0, change)
    planes = torch.from_numpy(image).movedim(-1, 0).cuda()
    result = on_gpu(planes)
    assert result.is_cuda
    np.testing.assert_allclose(result.movedim(0, -1).cpu().numpy(), whole, rtol=0, atol=1e-5)
