"""The perceptual part of the loss, against torch's own layers in torchvision's order, with random weights."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import graded, losses, picture, random_model
from copycat.model import cat
from copycat.model.network import ROWS
from copycat.ops import Encoding
from copycat.sequence import colour, write_frame
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings
from copycat.training import graph as captured_step
from copycat.training.graph import WARM_UP_STEPS, CapturedStep
from copycat.training.losses import Loss
from copycat.training.perceptual import Perceptual, PerceptualError, load_backbone
from copycat.training.start import Result, resume
from copycat.training.step import Learner
from stand_in_cuda import StandInCuda
from test_captured_step import ENCODING, assert_same, data, learn
from torch import Tensor, nn

Train = Callable[..., Result]
CPU = torch.device("cpu")
RGB = ("R", "G", "B")
LOG = Encoding((20.0,) * 3, (1.0, 1.1, 1.2), (0.7, 0.6, 0.5))
# torchvision's "D" and "E": widths of the convolutions, "M" a pooling.
LAYOUTS = {
    "VGG16": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M"),
    "VGG19": (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M"),
}
# Modules whose outputs are relu1_2, relu2_2, relu3_3 and relu4_3.
COMPARED = {"VGG16": (3, 8, 15, 22), "VGG19": (3, 8, 15, 24)}


def vgg(name: str = "VGG16") -> nn.Sequential:
    """Random weights that keep the size of what goes through."""
    torch.manual_seed(len(name) + int(name[-1]))
    layers: list[nn.Module] = []
    channels = 3
    for width in LAYOUTS[name]:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.normal_(convolution.bias, std=0.1)
            layers += [convolution, nn.ReLU()]
            channels = width
    return nn.Sequential(*layers).requires_grad_(False)


def state_dict(network: nn.Sequential) -> dict[str, Tensor]:
    """Named as torchvision does, with a layer of the classifier that nobody reads."""
    named = {f"features.{name}": tensor for name, tensor in network.state_dict().items()}
    return named | {"classifier.6.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "vgg16.safetensors"
    safetensors.torch.save_file(state_dict(vgg()), path)
    return path


def measure(file: Path, encoding: Encoding = ENCODING, channels: tuple[str, ...] = RGB) -> Perceptual:
    return Perceptual(load_backbone(file), channels, encoding, CPU, torch.float32)


def normalised(pictures: np.ndarray, encoding: Encoding) -> Tensor:
    """[B, H, W, 3] -> [B, 3, H, W] as a network gives it."""
    scale, mean, std = (np.array(numbers) for numbers in (encoding.log_scale, encoding.mean, encoding.std))
    values = np.where(scale > 0, np.sign(pictures) * np.log1p(scale * np.abs(pictures)), pictures)
    return torch.from_numpy(((values - mean) / std).astype(np.float32)).movedim(-1, 1)


def reference(name: str, output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The measure of display values [B, H, W, 3], by its definition, in double precision."""
    network = vgg(name).double()
    total = np.zeros(len(output))
    features = []
    for shown in (output, target):
        x = torch.from_numpy((shown - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).movedim(-1, 1)
        found = []
        for index, module in enumerate(network):
            x = module(x)
            if index in COMPARED[name]:
                found.append((x / x.norm(dim=1, keepdim=True).clamp(min=1e-9)).numpy())
        features.append(found)
    for a, b in zip(*features, strict=True):
        total += ((a - b) ** 2).mean((1, 2, 3)) / 4
    return total


def pictures(count: int = 2, size: int = 32, peak: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    frames = np.stack([picture(frame, (size, size)) for frame in range(count)]) * peak
    return frames, graded(frames)


# -- the measure --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["VGG16", "VGG19"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", "_legacy.pth"])
def test_it_is_the_mean_over_the_layers_of_the_squared_difference(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state_dict(vgg(name)), path)
    else:  # what torchvision offers is in torch's older format
        torch.save(state_dict(vgg(name)), path, _use_new_zipfile_serialization="legacy" not in suffix)
    output, target = pictures()
    actual = measure(path)(normalised(output, ENCODING), normalised(target, ENCODING), None)
    np.testing.assert_allclose(actual.numpy(), reference(name, output, target), rtol=1e-3)
    assert float(actual.min()) > 1e-5


def test_scene_linear_light_is_compared_as_it_is_shown(file: Path) -> None:
    output, target = pictures(peak=1.6)  # beyond white
    output[0, :4] = -0.3
    actual = measure(file, LOG)(normalised(output, LOG), normalised(target, LOG), None)
    shown = [np.clip(colour.srgb(one), 0, 1) for one in (output, target)]
    np.testing.assert_allclose(actual.numpy(), reference("VGG16", *shown), rtol=2e-3)


def test_channels_may_come_in_any_order(file: Path) -> None:
    output, target = (normalised(one, ENCODING) for one in pictures())
    turned = measure(file, channels=("B", "R", "G"))
    actual = turned(output[:, [2, 0, 1]], target[:, [2, 0, 1]], None)
    torch.testing.assert_close(actual, measure(file)(output, target, None), rtol=1e-4, atol=0)


@pytest.mark.parametrize("encoding", [ENCODING, LOG])
@pytest.mark.parametrize("value", [0.0, 0.18, 1.0, -1e4, 1e4, 5e37])
def test_equal_pictures_differ_by_nothing_and_every_gradient_is_finite(
    file: Path, encoding: Encoding, value: float
) -> None:
    actual = measure(file, encoding)
    flat = normalised(np.full((1, 16, 16, 3), value), encoding)
    for target in (flat, normalised(pictures(1, 16)[0], encoding)):
        output = flat.clone().requires_grad_()
        difference = actual(output, target, None)
        difference.sum().backward()
        assert output.grad is not None
        assert output.grad.isfinite().all()
        if target is flat:
            assert float(difference.detach()) == 0
            assert not output.grad.any()
        else:
            assert float(difference.detach()) > 0


@pytest.mark.parametrize("encoding", [ENCODING, LOG])
def test_its_gradient_is_how_fast_it_grows(file: Path, encoding: Encoding) -> None:
    actual = measure(file, encoding)
    output, target = (normalised(one, encoding) for one in pictures(1))
    output.requires_grad_()
    actual(output, target, None).sum().backward()
    assert output.grad is not None
    slope = output.grad.norm()
    with torch.no_grad():
        further, nearer = (actual(output + way * output.grad / slope, target, None) for way in (0.05, -0.05))
    torch.testing.assert_close((further - nearer).sum() / 0.1, slope, rtol=0.05, atol=0)


def test_what_the_mask_leaves_out_does_not_count(file: Path) -> None:
    actual = measure(file)
    output, target = (normalised(one, ENCODING) for one in pictures(1))
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24] = 1
    spoilt = torch.where(mask > 0, output, torch.full_like(output, 7.0))
    assert torch.equal(actual(spoilt, target, mask), actual(output, target, mask))
    assert float(actual(output, target, mask)) > 0
    assert float(actual(output, target, torch.zeros_like(mask))) == 0
    everywhere = actual(output, target, torch.ones_like(mask))
    torch.testing.assert_close(everywhere, actual(output, target, None), rtol=1e-4, atol=0)


@pytest.mark.parametrize("side", [1, 4, 6])
def test_crops_of_a_few_pixels_have_all_layers(file: Path, side: int) -> None:
    output, target = pictures(2, 16)
    few = [normalised(one[:, :side, :side], ENCODING) for one in (output, target)]
    assert measure(file)(*few, None).isfinite().all()


def test_it_adds_to_a_crop_s_error(file: Path) -> None:
    output, target = (normalised(one, ENCODING) for one in pictures())
    scale = torch.full((1, 3, 1, 1), 0.3)
    both = Loss(0.5, 1.0, measure(file), 3.0)(output, target, scale, None)[1]
    plain = Loss(0.5, 1.0)(output, target, scale, None)[1]
    assert torch.equal(both[1:], plain[1:])
    torch.testing.assert_close(both[0] - plain[0], 3 * measure(file)(output, target, None).mean())


# -- what is refused ----------------------------------------------------------------------------------------------


class Malicious:
    """What a .pth can hold: something that does as it likes when it is unpickled in the ordinary way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_file_of_something_else_is_refused_with_a_sentence(tmp_path: Path, tiny: None) -> None:
    good = state_dict(vgg())
    changed: dict[str, Any] = {
        "no convolution.pth": {key: value for key, value in good.items() if key != "features.7.bias"},
        "of one channel.pth": good | {"features.0.weight": torch.zeros(64, 1, 3, 3)},
        "whole numbers.pth": good | {"features.0.bias": torch.zeros(64, dtype=torch.int64)},
        "not finite.pth": good | {"features.0.bias": torch.full((64,), math.nan)},
        "no tensors.pth": {"features.0.weight": [1, 2]},
        "a list.pth": [1, 2],
        "code.pth": good | {"features.0.weight": Malicious(tmp_path / "was here")},
    }
    for name, held in changed.items():
        torch.save(held, tmp_path / name)
    random_model(tmp_path / "model.cat").rename(tmp_path / "model.safetensors")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not weights")
    sentences = {
        "no convolution.pth": r"VGG19: features\.7\.bias of a VGG16 is floating point \[128\], here it is missing",
        "of one channel.pth": r"features\.0\.weight .* \[64, 3, 3, 3\], here it is torch\.float32 \[64, 1, 3, 3\]",
        "whole numbers.pth": r"features\.0\.bias .* here it is torch\.int64 \[64\]",
        "not finite.pth": r"features\.0\.bias holds values that are not finite",
        "no tensors.pth": r"features\.0\.weight .* here it is missing",
        "a list.pth": r"features\.0\.weight .* here it is missing",
        "code.pth": "not a file of weights alone",
        "model.safetensors": r"features\.0\.weight .* here it is missing",
        "text.pth": "not a file of weights alone",
        "text.safetensors": "not a file of weights alone",
        "nothing.pth": "cannot be read: No such file",
        "nothing.safetensors": "cannot be read: No such file",
    }
    for name, sentence in sentences.items():
        with pytest.raises(PerceptualError, match=sentence) as refusal:
            load_backbone(tmp_path / name)
        assert str(refusal.value).startswith(str(tmp_path / name))
    assert not (tmp_path / "was here").exists()


def test_a_weight_without_a_file_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"Perceptual Weight is 0\.5, but Perceptual Backbone is empty"):
        Settings(perceptual_weight=0.5)
    assert Settings(l2_weight=0, perceptual_weight=1, perceptual_backbone="vgg.pth").l2_weight == 0
    with pytest.raises(SettingsError, match="are all 0: nothing would be learned"):
        Settings(l2_weight=0, perceptual_backbone="vgg.pth")


@pytest.mark.parametrize("channels", ["R", "R,G", "R,G,A", "R,G,B,A"])
def test_a_ground_truth_that_is_no_colour_is_refused_before_it_is_read(
    file: Path, train: Train, tmp_path: Path, channels: str
) -> None:
    for frame in (1, 2):
        for what in ("in", "out"):
            image = picture(frame, channels=4)
            write_frame(tmp_path / f"{what}.{frame}.exr", image, ("R", "G", "B", "A"))
    with pytest.raises(PerceptualError, match=f"red, green and blue alone, not {channels}$"):
        train(
            str(tmp_path / "in.#.exr"),
            str(tmp_path / "out.#.exr"),
            ground_truth_channels=channels,
            perceptual_weight=1,
            perceptual_backbone=str(file),
        )


# -- in a training ------------------------------------------------------------------------------------------------


def test_a_training_with_it_is_resumed_to_the_bit(file: Path, train: Train) -> None:
    def stop_at_four(event: dict[str, Any]) -> None:
        if event["frame"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    knobs: dict[str, Any] = {"epochs": 4, "batch_size_type": "Manual", "batch_size": 2}
    perceptual = {"perceptual_weight": 4.0, "perceptual_backbone": str(file)}
    plain, whole = losses(train(**knobs).run), losses(train(**knobs, **perceptual).run)
    stopped = train(**knobs, **perceptual, before_frame_render=stop_at_four)
    assert (stopped.ended, stopped.step) == ("terminated", 4)
    again = losses(resume(stopped.run.directory, stopped.run.name).run)
    assert again == whole
    assert len(whole) == 8
    assert all(more is not None and less is not None and more > less for more, less in zip(whole, plain, strict=True))


def test_it_is_refused_before_a_run_is_created(train: Train, tmp_path: Path) -> None:
    with pytest.raises(PerceptualError, match="cannot be read"):
        train(perceptual_weight=1, perceptual_backbone=str(tmp_path / "nowhere.pth"))
    assert not (tmp_path / "runs").exists()


def new_learner(file: Path, device: torch.device = CPU) -> Learner:
    settings = Settings(model_size="Small", crop_size=32, perceptual_weight=2.0, perceptual_backbone=str(file))
    header = cat.ModelHeader(ROWS["Small"], RGB, RGB, (0, 1, 2), ENCODING, ENCODING)
    return Learner(header, settings, device, 2, backbone=load_backbone(file))


def test_it_waits_for_nothing_and_can_be_recorded(file: Path, monkeypatch: pytest.MonkeyPatch, tiny: None) -> None:
    plain, cuda = new_learner(file), StandInCuda()
    monkeypatch.setattr(captured_step, "recorder_for", lambda device: CapturedStep(device, cuda))
    frames, on = new_learner(file), data()
    assert torch.equal(learn(frames, on, range(7)), learn(plain, on, range(7)))
    assert_same(frames, plain)
    assert (cuda.recordings, cuda.replays) == (1, 7 - WARM_UP_STEPS)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_in_bfloat16_it_is_nearly_the_same(file: Path, device: str) -> None:
    on = torch.device(device)
    output, target = (normalised(one, ENCODING) for one in pictures())
    actual = Perceptual(load_backbone(file), RGB, ENCODING, on, torch.bfloat16)(output.to(on), target.to(on), None)
    torch.testing.assert_close(actual.cpu(), measure(file)(output, target, None), rtol=0.05, atol=0)
    assert not Perceptual(load_backbone(file), RGB, ENCODING, on, torch.bfloat16)(
        output.to(on), output.to(on), None
    ).any()


@pytest.mark.gpu
def test_on_a_gpu_it_is_recorded_and_follows_the_cpu(file: Path) -> None:
    gpu = torch.device("cuda")
    frames = new_learner(file, gpu)
    there, here = learn(frames, data().to(gpu), range(8)), learn(new_learner(file), data(), range(8))
    torch.testing.assert_close(there[:3], here[:3], rtol=5e-2, atol=1e-4)
    assert there.isfinite().all()
    assert frames._captured is not None
    assert not frames._captured.gave_up
