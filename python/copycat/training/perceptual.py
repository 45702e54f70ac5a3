"""Perceptual difference: how far two pictures are apart in the features of VGG16 or VGG19.

It is the mean over four layers of the mean squared difference of their outputs, each output pixel scaled to
length 1 over its channels: the perceptual loss of Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style
transfer and super-resolution", ECCV 2016, with the normalisation of Zhang, Isola, Efros, Shechtman, Wang, "The
unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, and without their learned weights.

The weights come from a file that the user names: torchvision's state dict as .safetensors or .pth. Reading one never
runs code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor

from copycat import ops
from copycat.errors import CopycatError
from copycat.sequence import colour_layers
from copycat.sequence.colour import srgb_curve

# Indices of the convolutions up to relu4_3 in torchvision's ``features``, stage by stage, and their widths.
_VGG16 = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21))
_VGG19 = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23))
_WIDTHS = (64, 128, 256, 512)
# The compared convolution of each stage: relu1_2, relu2_2, relu3_3, relu4_3.
_COMPARED = (1, 1, 2, 2)
# The normalisation that torchvision's weights expect: red, green and blue of display values.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Keeps the gradient of a length of 0 finite.
_LEAST_SQUARE = 1e-6

# Weight [out, in, 3, 3] and bias [out] of the convolutions of each stage.
Backbone = tuple[tuple[tuple[Tensor, Tensor], ...], ...]


class PerceptualError(CopycatError):
    """There can be no perceptual loss; the message names the file or the channels."""


def load_backbone(path: str | Path) -> Backbone:
    """Reads the first four stages of torchvision's VGG16 or VGG19.

    Raises:
        PerceptualError: the file cannot be read, or does not hold these weights.
    """
    tensors = _read(Path(path))
    name, stages = ("VGG19", _VGG19) if "features.16.weight" in tensors else ("VGG16", _VGG16)
    channels, loaded = 3, []
    for stage, width in zip(stages, _WIDTHS, strict=True):
        pairs = []
        for index in stage:
            pair = []
            for part, shape in (("weight", [width, channels, 3, 3]), ("bias", [width])):
                key = f"features.{index}.{part}"
                tensor = tensors.get(key)
                found = "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
                if tensor is None or list(tensor.shape) != shape or not tensor.is_floating_point():
                    raise PerceptualError(
                        f"{path}: not torchvision's VGG16 or VGG19: {key} of a {name} is floating point {shape}, "
                        f"here it is {found}"
                    )
                if not tensor.isfinite().all():
                    raise PerceptualError(f"{path}: {key} holds values that are not finite")
                pair.append(tensor.float())
            pairs.append((pair[0], pair[1]))
            channels = width
        loaded.append(tuple(pairs))
    return tuple(loaded)


def check_colour(channels: Sequence[str]) -> None:
    """Raises PerceptualError when the Ground Truth's channels are not red, green and blue alone."""
    if len(channels) != 3 or not colour_layers(channels):
        raise PerceptualError(
            f"Perceptual Weight needs a Ground Truth of red, green and blue alone, not {','.join(channels)}"
        )


class Perceptual:
    """The difference of normalised pictures; waits for nothing, so that a CUDA graph can hold it."""

    def __init__(
        self,
        backbone: Backbone,
        channels: Sequence[str],
        encoding: ops.Encoding,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Keeps the backbone on ``device`` in ``dtype``.

        Args:
            backbone: as loaded.
            channels: names of the pictures' channels, red, green and blue in any order.
            encoding: of the pictures; scene-linear where it is logarithmic.
            device: of the pictures.
            dtype: of the convolutions.

        Raises:
            PerceptualError: see :func:`check_colour`.
        """
        check_colour(channels)
        layer = colour_layers(channels)[0]
        colours = [layer.index(c) for c in range(3)]  # of each channel: 0 red, 1 green, 2 blue

        def numbers(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, device=device).view(1, 3, 1, 1)

        logarithmic = [scale > 0 for scale in encoding.log_scale]
        self._logarithmic = torch.tensor(logarithmic, device=device).view(1, 3, 1, 1)
        self._scale = numbers([scale or 1.0 for scale in encoding.log_scale])
        self._white = numbers([math.log1p(scale) if scale else 1.0 for scale in encoding.log_scale])
        self._black = numbers([0.0] * 3)
        self._mean, self._std = numbers(encoding.mean), numbers(encoding.std)
        self._backbone_mean, self._backbone_std = (numbers([of[c] for c in colours]) for of in (_MEAN, _STD))
        (first, bias), *others = backbone[0]
        stages = (((first[:, colours], bias), *others), *backbone[1:])
        self._stages = [
            [
                (weight.to(device, dtype, memory_format=torch.channels_last), bias.to(device, dtype))
                for weight, bias in stage
            ]
            for stage in stages
        ]

    def __call__(self, output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """The difference of each crop.

        Args:
            output, target: [B, 3, H, W], normalised.
            mask: [B, 1, H, W] weights, or None. Output and target are mixed by it before they are compared, and a
                crop's difference is divided by the mask's mean, as its other errors are.

        Returns:
            [B] float32.
        """
        output, target = self.display(output), self.display(target)
        if mask is not None:
            mask = mask.float().clamp(0, 1)
            output = target.lerp(output, mask)
        with torch.no_grad():
            goals = self._features(target)
        differences = [
            (feature - goal).square().mean((1, 2, 3))
            for feature, goal in zip(self._features(output), goals, strict=True)
        ]
        mean = torch.stack(differences).mean(0)
        return mean if mask is None else mean / (mask.mean((1, 2, 3)) + 1e-6)

    def display(self, normalised: Tensor) -> Tensor:
        """Display values in 0..1: scene-linear light through the sRGB curve (IEC 61966-2-1), others unchanged."""
        # Clamped before the exponential and the power, whose gradients may be infinite outside.
        encoded = (normalised.float() * self._std + self._mean).clamp(self._black, self._white)
        linear = torch.expm1(encoded) / self._scale
        return torch.where(self._logarithmic, srgb_curve(linear, torch), encoded)

    def _features(self, displayed: Tensor) -> list[Tensor]:
        """Outputs of the compared layers, float32, scaled to length 1 over the channels."""
        features = []
        x = (displayed - self._backbone_mean) / self._backbone_std
        x = x.to(self._stages[0][0][0].dtype, memory_format=torch.channels_last)
        for number, (stage, compared) in enumerate(zip(self._stages, _COMPARED, strict=True)):
            if number:
                x = F.max_pool2d(x, 2, ceil_mode=True)  # so that a crop of a few pixels reaches all layers
            for index, (weight, bias) in enumerate(stage):
                x = F.conv2d(x, weight, bias, padding=1).relu()
                if index == compared:
                    feature = x.float()
                    features.append(feature * torch.rsqrt(feature.square().sum(1, keepdim=True) + _LEAST_SQUARE))
        return features


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, of a .safetensors those of ``features`` only."""
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys() if key.startswith("features.")}  # noqa: SIM118
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PerceptualError(f"{path}: the Perceptual Backbone cannot be read: {error.strerror or error}") from error
    except Exception as error:  # the readers raise anything, from KeyError to RuntimeError
        raise PerceptualError(f"{path}: not a file of weights alone, as .safetensors or .pth") from error
    return (
        {key: value for key, value in loaded.items() if isinstance(value, Tensor)} if isinstance(loaded, dict) else {}
    )
