"""Pictures of people for Human Matting: photographs with their mattes, and people in front of other pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence.colour import from_srgb, srgb

_PHOTO, _EMPTY = 0.25, 0.3  # shares of the scenes that are a photograph, and that show nobody
# Pixels, of people. The network sees 64 pixels to each side: of what is larger it sees clothes, which may be anything.
_HEIGHTS = (50.0, 280.0)
_PHOTO_SCALE = 0.65  # at most, where the square still fits: people fill photographs
_ENLARGED = 1.8  # at most

Scene = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class People:
    """What scenes are made of.

    Attributes:
        backdrops: [H, W, 3] uint8 RGB, without people.
        photos: [H, W, 3] uint8 RGB and the matte [H, W] uint8.
        cut_outs: [H, W, 4] uint8 RGBA, people alone.
    """

    backdrops: list[np.ndarray]
    photos: list[tuple[np.ndarray, np.ndarray]]
    cut_outs: list[np.ndarray]

    @classmethod
    def read(cls, folder: Path) -> People:
        """The people that ``tools.people`` wrote to a folder."""
        backdrops = [_rgb(path) for path in sorted((folder / "backdrops").glob("*.jpg"))]
        photos = [
            (_rgb(path), cv2.imread(str(folder / "masks" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE))
            for path in sorted((folder / "photos").glob("*.jpg"))
        ]
        cut_outs = [
            cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
            for path in sorted((folder / "cut-outs").glob("*.png"))
        ]
        if not (backdrops and photos and cut_outs):
            raise SystemExit(f"{folder}: lacks backdrops, photos or cut-outs; tools.people makes them")
        return cls(backdrops, photos, cut_outs)

    def scene(self, side: int, random: np.random.Generator) -> Scene:
        """A square of a scene.

        Returns:
            [side, side, 3] float32 linear light, and [side, side, 1] how much of each pixel is a person.
        """
        kind = random.random()
        if kind < _PHOTO:
            picture, matte = self.photos[random.integers(len(self.photos))]
            image, alpha = _square([picture, matte], side, random, _PHOTO_SCALE)
            image = from_srgb(image).astype(np.float32)
        else:
            picture = self.backdrops[random.integers(len(self.backdrops))]
            image = from_srgb(_square([picture], side, random)[0]).astype(np.float32)
            if random.random() < 0.6:  # walls and woods have the colour of skin, too
                image = _graded(image, random, tint=0.3)
            if random.random() < 0.3:
                image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.5, 4))
            alpha = np.zeros((side, side), np.float32)
            while random.random() < 0.15:
                self._paste(image, alpha, random, person=False)
            if kind > _PHOTO + _EMPTY:
                for _ in range(random.choice((1, 2, 3), p=(0.7, 0.2, 0.1))):
                    self._paste(image, alpha, random, person=True)
                if random.random() < 0.1:  # something in front of them
                    self._paste(image, alpha, random, person=False)
        return _filmed(image, random), alpha.clip(0, 1)[..., None]

    def _paste(self, image: np.ndarray, alpha: np.ndarray, random: np.random.Generator, *, person: bool) -> None:
        """Puts a person into a scene; or the shape of a person, filled with a backdrop, which is none."""
        side = len(image)
        cut_out = self.cut_outs[random.integers(len(self.cut_outs))]
        low, high = np.log(_HEIGHTS)
        scale = min(np.exp(random.uniform(low, high)) / cut_out.shape[0], _ENLARGED * random.uniform(0.6, 1))
        size = [max(8, round(extent * scale)) for extent in cut_out.shape[1::-1]]
        small = cv2.resize(cut_out, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        if random.random() < 0.5:
            small = small[:, ::-1]
        cover = small[..., 3].astype(np.float32) / 255
        grounded = float(cover[-1].mean()) > 0.15  # the frame's edge cut it off there
        if person:
            colour = _graded(from_srgb(small[..., :3].astype(np.float32) / 255).astype(np.float32), random)
        else:
            backdrop = self.backdrops[random.integers(len(self.backdrops))]
            other = cv2.resize(_square([backdrop], side, random)[0], size)
            colour = from_srgb(other).astype(np.float32)
        margin = 12
        layer = cv2.copyMakeBorder(np.dstack([colour * cover[..., None], cover]), *[margin] * 4, cv2.BORDER_CONSTANT)
        if random.random() < 0.3 and not grounded:
            angle = random.uniform(-15, 15) if random.random() < 0.8 else random.uniform(-180, 180)
            layer = _rotated(layer, angle)
        layer = _softened(layer, random, scale)
        height, width = layer.shape[:2]
        x = int(random.uniform(-0.4 * width, side - 0.6 * width))
        if grounded:
            y = side - height + margin + int(random.uniform(0, 0.4 * height))
        else:
            y = int(random.uniform(-0.4 * height, side - 0.6 * height))
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + height, side), min(x + width, side)
        if top >= bottom or left >= right:
            return
        part = layer[top - y : bottom - y, left - x : right - x]
        window = np.s_[top:bottom, left:right]
        image[window] = part[..., :3] + image[window] * (1 - part[..., 3:])
        alpha[window] = alpha[window] * (1 - part[..., 3]) + (part[..., 3] if person else 0)


def _rgb(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def _square(images: list[np.ndarray], side: int, random: np.random.Generator, largest: float = 1.0) -> list[np.ndarray]:
    """The same square of images of one size, in 0..1; smaller at random, at most ``largest`` of their size."""
    smallest = side / min(images[0].shape[:2])
    scale = float(np.exp(random.uniform(np.log(max(smallest, 0.3)), np.log(max(smallest, largest)))))
    size = [max(side, round(extent * scale)) for extent in images[0].shape[1::-1]]
    y, x = (int(random.integers(0, extent - side + 1)) for extent in size[::-1])
    flop = random.random() < 0.5
    found = []
    for image in images:
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        part = resized[y : y + side, x : x + side]
        found.append((part[:, ::-1] if flop else part).astype(np.float32) / 255)
    return found


def _graded(colour: np.ndarray, random: np.random.Generator, tint: float = 0.06) -> np.ndarray:
    """Linear light under other light: exposure, white balance (``tint``: how far it is off), contrast, saturation."""
    gain = 2 ** random.normal(0, 0.4) * np.exp(random.normal(0, tint, 3))
    graded = np.maximum(colour, 0) ** np.exp(random.normal(0, 0.1)) * gain
    luma = graded.mean(-1, keepdims=True)
    return np.maximum(luma + (graded - luma) * random.uniform(0.7, 1.2), 0).astype(np.float32)


def _rotated(layer: np.ndarray, angle: float) -> np.ndarray:
    height, width = layer.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    across = [abs(matrix[0, 0]) * a + abs(matrix[0, 1]) * b for a, b in ((width, height), (height, width))]
    matrix[:, 2] += (across[0] - width) / 2, (across[1] - height) / 2
    return cv2.warpAffine(layer, matrix, [round(extent) for extent in across], flags=cv2.INTER_LINEAR)


def _softened(layer: np.ndarray, random: np.random.Generator, scale: float) -> np.ndarray:
    """A premultiplied layer with the edges, the focus and the motion blur of a camera."""
    choked = np.clip((layer[..., 3:] - 0.3 * random.random()) / 0.7, 0, 1)
    layer = layer * (choked / np.maximum(layer[..., 3:], 1e-3))
    layer = cv2.GaussianBlur(layer, (0, 0), random.uniform(0.3, 0.8) + 0.4 * max(scale - 0.7, 0))
    kind = random.random()
    if kind < 0.12:
        layer = cv2.GaussianBlur(layer, (0, 0), random.uniform(0.8, 2.5))
    elif kind < 0.27:
        length, angle = random.uniform(3, 16), random.uniform(0, np.pi)
        kernel, reach = np.zeros((19, 19), np.float32), np.array([np.cos(angle), np.sin(angle)]) * length / 2
        ends = [tuple(np.rint(9 + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1)
        layer = cv2.filter2D(layer, -1, kernel / kernel.sum())
    return layer


def _filmed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The scene under another exposure, through a lens, with grain and compression."""
    image = _graded(image, random) if random.random() < 0.5 else image * np.float32(2 ** random.uniform(-1, 1))
    if random.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.2))
    if random.random() < 0.04:
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    shown = srgb(image).clip(0, 1).astype(np.float32)
    if random.random() < 0.5:
        shown = shown + random.normal(0, random.uniform(0.002, 0.025), shown.shape).astype(np.float32)
    if random.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(30, 95))]
        _, packed = cv2.imencode(".jpg", (shown.clip(0, 1) * 255).astype(np.uint8), quality)
        shown = cv2.imdecode(packed, cv2.IMREAD_COLOR).astype(np.float32) / 255
    return from_srgb(shown.clip(0, 1)).astype(np.float32)
