"""Aligns a frame with another one of the same shot: a homography, right to less than a tenth of a pixel.

Features (SIFT: Lowe, IJCV 2004) and RANSAC find it, then a robust least squares fit of the grey values refines it
(Lucas and Kanade, IJCAI 1981, with Tukey's weights), so that what moves by itself or is on one frame only does not
pull. The same frames give the same homography: OpenCV's RANSAC has a fixed seed. Coordinates are pixels, whose centres
are whole numbers, origin top left. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]
"""3x3 homography."""

# Generators of changes in units of half the longer side: any homography; and pan, tilt, zoom and roll alone.
ANY_CHANGE = np.eye(9)[:8].reshape(8, 3, 3)
STEADY_CHANGE = np.array(
    [
        [[0, 0, 1], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
    ],
    np.float64,
)
DESCRIPTOR = 128  # values of a SIFT descriptor
_COMPARED_SIDE = 2048  # pictures with longer sides are compared at a lower resolution
_SEARCHED_SIDE = 1280  # and searched for features at a still lower one
_FEATURES = 2000
_FEATURE_CELLS = (6, 9)  # features are spread over so many rows and columns
_CONTRAST = 0.015
_RATIO = 0.8  # Lowe's: of the distances to the nearest and the second nearest descriptor
_INLIER = 1.5  # pixels of the searched resolution
_LEAST_MATCHES = 12
_LEAST_SHARE = 0.2  # of the matches that must agree
_LEAST_CORRELATION = 0.6
_LARGEST_ZOOM = 4.5
_FIT_CELL = 12  # pixels; a cell gives _FIT_POINTS to the fit
_FIT_POINTS = 8
_FIT_CELLS = 4000
_FIT_BLURS = (2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.7, 0.7, 0.7)  # sigma in pixels, for each iteration
_TUKEY = 4.685


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a frame.

    Attributes:
        points: [M, 2] float32, x and y.
        descriptors: [M, DESCRIPTOR] uint8.
    """

    points: Array
    descriptors: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class View:
    """A frame as it is compared with others. Any thread, for a source of `align` after `prepare`.

    Attributes:
        grey: [H, W] float32, 0 to 255, alike in all frames.
        shown: [H, W] bool, the pixels that count; None for all.
        features: in pixels of ``grey``.
        factor: by which ``grey`` is smaller than the frame.
    """

    grey: Array
    shown: NDArray[np.bool_] | None
    features: Features
    factor: int = 1

    @classmethod
    def of(cls, grey: Array, shown: NDArray[np.bool_] | None = None, features: Features | None = None) -> View:
        """Reduces a large frame; searches for features if they are not on file."""
        factor = -(-max(grey.shape) // _COMPARED_SIDE)
        if factor > 1:
            shares = None if shown is None else reduced(shown.astype(np.float32), factor)
            grey, shown = reduced(grey, factor), None if shares is None else shares > 0.999
        return cls(grey, shown, features or find_features(grey, shown), factor)

    def prepare(self) -> None:
        """Computes what `align` needs of its source, which is kept."""
        _ = self.fit_points

    def smoothed(self, sigma: float) -> Array:
        """[H, W, 3]: the grey values without grain, and their derivatives in x and y."""
        grey = cv2.GaussianBlur(self.grey, (0, 0), sigma)
        slopes = [cv2.Scharr(grey, cv2.CV_32F, *order, scale=1 / 32) for order in ((1, 0), (0, 1))]
        return np.dstack([grey, *slopes])

    @cached_property
    def smooth(self) -> dict[float, Array]:
        """The smoothed grey values for each blur of the fit."""
        return {sigma: self.smoothed(sigma) for sigma in sorted(set(_FIT_BLURS))}

    @cached_property
    def fit_points(self) -> Array:
        """[M, 2] whole x, y of the steepest pixels of each cell, where the fit compares."""
        height, width = self.grey.shape
        side = max(_FIT_CELL, int(np.sqrt(height * width / _FIT_CELLS)))
        _, across, down = np.moveaxis(self.smooth[1.0], -1, 0)
        steep = across**2 + down**2
        if self.shown is not None:
            hidden = cv2.dilate((~self.shown).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
            steep = np.where(hidden, 0, steep)
        rows, columns = height // side, width // side
        cells = steep[: rows * side, : columns * side].reshape(rows, side, columns, side).swapaxes(1, 2)
        cells = cells.reshape(rows * columns, side * side)
        count = min(_FIT_POINTS, side * side)
        best = np.argpartition(cells, -count, axis=1)[:, -count:]
        flat = np.take_along_axis(cells, best, axis=1) > 0
        row, column = np.divmod(np.arange(rows * columns), max(columns, 1))
        y, x = np.divmod(best, side)
        points = np.stack([column[:, None] * side + x, row[:, None] * side + y], axis=-1)
        return points[flat].astype(np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV in this thread alone: its pool would take cores that a training or a host has given to others."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def find_features(grey: Array, shown: NDArray[np.bool_] | None = None) -> Features:
    """Finds features, spread over the frame.

    Args:
        grey: [H, W] float32, 0 to 255.
        shown: [H, W] bool, the pixels that count; None for all.
    """
    height, width = grey.shape
    factor = -(-max(height, width) // _SEARCHED_SIDE)
    size = (max(1, width // factor), max(1, height // factor))
    small = grey if factor == 1 else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    mask = None if shown is None else cv2.resize(shown.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    sift = cv2.SIFT.create(nfeatures=0, contrastThreshold=_CONTRAST)
    found, descriptors = sift.detectAndCompute(small.clip(0, 255).astype(np.uint8), mask)
    if descriptors is None or not len(found):
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, DESCRIPTOR), np.uint8))
    points = np.array([point.pt for point in found], np.float32)
    response = np.array([point.response for point in found])
    rows, columns = _FEATURE_CELLS
    row = np.minimum(points[:, 1] * rows / size[1], rows - 1).astype(int)
    column = np.minimum(points[:, 0] * columns / size[0], columns - 1).astype(int)
    cell = row * columns + column
    order = np.lexsort((-response, cell))
    starts = np.searchsorted(cell[order], np.arange(rows * columns))
    rank = np.arange(len(order)) - starts[cell[order]]
    kept = np.sort(order[rank < _FEATURES // (rows * columns)])
    scale = np.array([width / size[0], height / size[1]], np.float32)
    placed = (points[kept] + 0.5) * scale - 0.5
    return Features(placed.astype(np.float32), descriptors[kept].clip(0, 255).astype(np.uint8))


def match(source: Features, target: Features) -> NDArray[np.intp]:
    """[M, 2] indices of features of both frames that look alike, and like no other."""
    if min(len(source.points), len(target.points)) < 2:
        return np.zeros((0, 2), np.intp)
    a, b = source.descriptors.astype(np.float32), target.descriptors.astype(np.float32)
    distance = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    nearest = distance.argmin(axis=1)
    first, second = np.partition(distance, 1, axis=1)[:, :2].T
    alone = first.clip(0) < _RATIO**2 * second
    mutual = distance.argmin(axis=0)[nearest] == np.arange(len(nearest))
    indices = np.flatnonzero(alone & mutual)
    return np.stack([indices, nearest[indices]], axis=1)


def align(source: View, target: View) -> Matrix | None:
    """The homography from pixels of ``source`` to pixels of ``target``; None where they have too little in common."""
    pairs = match(source.features, target.features)
    if len(pairs) < _LEAST_MATCHES:
        return None
    here, there = source.features.points[pairs[:, 0]], target.features.points[pairs[:, 1]]
    searched = max(1.0, max(source.grey.shape) / _SEARCHED_SIDE, max(target.grey.shape) / _SEARCHED_SIDE)
    found, inliers = cv2.findHomography(here, there, cv2.RANSAC, _INLIER * searched, maxIters=5000, confidence=0.9999)
    if found is None or inliers.sum() < max(_LEAST_MATCHES, _LEAST_SHARE * len(pairs)):
        return None
    matrix = found.astype(np.float64)
    if not is_view(matrix, source.grey.shape[:2]):
        return None
    fitted, correlation = fit(source, target, matrix)
    if correlation < _LEAST_CORRELATION or not is_view(fitted, source.grey.shape[:2]):
        return None
    whole: Matrix = np.linalg.inv(reduction(target.factor)) @ fitted @ reduction(source.factor)
    return whole / float(whole[2, 2])


def fit(
    source: View,
    target: View,
    matrix: Matrix,
    points: Array | None = None,
    changes: NDArray[np.float64] = ANY_CHANGE,
) -> tuple[Matrix, float]:
    """Refines a homography between pixels of the grey values that is right to about a pixel.

    Args:
        source, target: the frames.
        matrix: where to begin.
        points: [M, 2] whole x, y of the source's pixels to compare; None for its fit points.
        changes: 3x3 generators of the changes that may be made to the homography.

    Returns:
        The homography, and the correlation of the grey values where both frames show the same.
    """
    height, width = source.grey.shape
    centre, reach = np.array([width, height]) / 2, max(width, height) / 2
    unit = np.array([[reach, 0, centre[0]], [0, reach, centre[1]], [0, 0, 1]])  # from -1..1 to pixels
    points = source.fit_points if points is None else points
    x, y = ((points - centre) / reach).T.astype(np.float64)
    column, row = points.T.astype(int)
    h = matrix @ unit
    h /= h[2, 2]
    gain, offset, correlation, blur, smoothed = 1.0, 0.0, 0.0, 0.0, target.grey
    for index, sigma in enumerate(_FIT_BLURS):
        if sigma != blur:
            blur, smoothed = sigma, target.smoothed(sigma)
        w = h[2, 0] * x + h[2, 1] * y + 1
        u, v = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w
        both = inside(target, u, v) & (w > 0)
        if np.count_nonzero(both) < _LEAST_MATCHES:
            return matrix, 0.0
        xi, yi, ui, vi, wi = (part[both] for part in (x, y, u, v, w))
        there, across, down = sampled(smoothed, ui, vi).T.astype(np.float64)
        here = source.smooth[sigma][row[both], column[both], 0].astype(np.float64)
        if not index:  # without this, all pixels of a brighter frame are far off, and none counts
            offset = float(np.median(there - here))
        error = there - gain * here - offset
        spread = 1.4826 * float(np.median(np.abs(error - np.median(error)))) + 1e-3
        weight = np.square(np.clip(1 - np.square(error / (_TUKEY * spread)), 0, None))
        a, b = across / wi, down / wi
        c = -(a * ui + b * vi)
        slopes = np.stack([a * xi, a * yi, a, b * xi, b * yi, b, c * xi, c * yi, c], axis=1)
        moved = h @ changes
        basis = (moved - moved[:, 2:, 2:] * h).reshape(len(changes), 9)
        jacobian = np.concatenate([slopes @ basis.T, -np.stack([here, np.ones_like(here)], axis=1)], axis=1)
        weighted = jacobian * weight[:, None]
        normal = weighted.T @ jacobian
        normal[np.diag_indices(len(normal))] *= 1 + 1e-6
        try:
            step = np.linalg.solve(normal, -weighted.T @ error)
        except np.linalg.LinAlgError:
            return matrix, 0.0
        h = h + (step[:-2] @ basis).reshape(3, 3)
        gain, offset = gain + step[-2], offset + step[-1]
        correlation = _correlation(here, there, weight)
    fitted = h @ np.linalg.inv(unit)
    return fitted / fitted[2, 2], correlation


def reduced(picture: Array, factor: int) -> Array:
    """A picture [H, W] or [H, W, C] made smaller by area averages; its last row and column repeat."""
    margin = [(0, -side % factor) for side in picture.shape[:2]] + [(0, 0)] * (picture.ndim - 2)
    padded = np.pad(picture, margin, mode="edge")
    size = (padded.shape[1] // factor, padded.shape[0] // factor)
    return np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), np.float32)


def reduction(factor: int) -> Matrix:
    """3x3, from pixels of a picture to those of the reduced one."""
    shift = (1 / factor - 1) / 2
    return np.array([[1 / factor, 0, shift], [0, 1 / factor, shift], [0, 0, 1]])


def mapped(matrix: Matrix, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Array, Array]:
    """Where a homography maps points; far outside of any frame where they lie behind the camera."""
    w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    behind = w <= 1e-6
    w = np.where(behind, 1, w)
    u = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) / w
    v = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) / w
    far = -1e6
    return np.where(behind, far, u).astype(np.float32), np.where(behind, far, v).astype(np.float32)


def sampled(picture: Array, x: NDArray[np.float64], y: NDArray[np.float64]) -> Array:
    """[M, C] values of a picture [H, W, C] at points [M]; its edges repeat."""
    across = 256
    count = len(x)
    padded = np.zeros((2, -(-count // across) * across), np.float32)
    padded[0, :count], padded[1, :count] = x, y
    maps = padded.reshape(2, -1, across)
    values = cv2.remap(picture, maps[0], maps[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32).reshape(-1, picture.shape[2])[:count]


def inside(target: View, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points [M] of a frame's grey values lie in it, among pixels that count."""
    height, width = target.grey.shape
    within: NDArray[np.bool_] = (u >= 2) & (v >= 2) & (u <= width - 3) & (v <= height - 3)
    if target.shown is not None:
        column, row = (np.where(within, part, 0).round().astype(int) for part in (u, v))
        within &= target.shown[row, column]
    return within


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Correlation of the points that the fit weighs, times the share of points that it weighs at all."""
    total = weight.sum()
    if total < _LEAST_MATCHES:
        return 0.0
    a, b = a - (a * weight).sum() / total, b - (b * weight).sum() / total
    spread = np.sqrt((a * a * weight).sum() * (b * b * weight).sum())
    share = min(1.0, np.count_nonzero(weight) / (0.5 * len(weight)))
    return float((a * b * weight).sum() / spread * share) if spread > 0 else 0.0


def is_view(matrix: Matrix, size: tuple[int, int]) -> bool:
    """Whether a camera can have seen it: nothing is mirrored or folded, and the zoom has bounds."""
    height, width = size
    x, y = (np.array(side, np.float64) for side in ((0, width - 1, width - 1, 0), (0, 0, height - 1, height - 1)))
    w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    if not np.isfinite(matrix).all() or (w <= 1e-6).any() or w.max() > _LARGEST_ZOOM * w.min():
        return False
    u, v = mapped(matrix, x, y)
    du, dv = np.roll(u, -1) - u, np.roll(v, -1) - v
    turns = du * np.roll(dv, -1) - dv * np.roll(du, -1)
    zoom = np.sqrt(abs(0.5 * np.sum(u * np.roll(v, -1) - v * np.roll(u, -1))) / max(1, (width - 1) * (height - 1)))
    return bool((turns > 0).all()) and 1 / _LARGEST_ZOOM < zoom < _LARGEST_ZOOM
