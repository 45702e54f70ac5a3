"""The second layer in depth of a shot whose camera moves: what one homography does not align.

Where the camera moves sideways, near things move by more than far ones. Matches that the homography of the larger layer
leaves over give the other layer's own, which differs from it by pan, tilt, zoom and roll. Which of a frame's layers is
which is the same in all painted frames, by the features that they share. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from copycat.data import plate_alignment
from copycat.data.plate_alignment import Array, Matrix, View

_NEAR = 1.5  # pixels between features that agree
_FAR = 80.0  # pixels beyond which a match is an error
_LEAST = 8  # features that make a layer
_LEAST_POINTS = 50
_LEAST_SHARE = 0.4  # of the painted frames that must show it
_LEAST_CORRELATION = 0.3
_NOISE = 3.0  # grey values; smaller differences are grain
_EXPLAINED = 0.6  # of the difference that a layer's own homography may leave


@dataclass(frozen=True, eq=False)
class _Found:
    """What a painted frame says of the layers: homographies and, by feature of the frame, how far each is off."""

    first: Matrix
    second: Matrix | None
    features: NDArray[np.intp]
    errors: tuple[NDArray[np.float64], NDArray[np.float64]]

    def of(self, layer: int) -> set[int]:
        """The features that only this layer explains."""
        own, other = self.errors[layer], self.errors[1 - layer]
        return set(self.features[(own < _NEAR) & (own < other)].tolist())


def layers(source: View, targets: Sequence[View], matrices: Sequence[Matrix]) -> list[list[Matrix | None]]:
    """The homographies of one or two layers.

    Args:
        source: the frame.
        targets: painted frames.
        matrices: for each the homography, as of `plate_alignment.align`.

    Returns:
        For each layer, a homography for each target, or None where it is unknown; one layer if there is no parallax.
    """
    found = [_second(source, *pair) for pair in zip(targets, matrices, strict=True)]
    if sum(one.second is not None for one in found) < max(1, _LEAST_SHARE * len(found)):
        return [list(matrices)]
    labels: tuple[set[int], set[int]] = (set(), set())
    swapped = []
    for one in found:
        if one.second is None:
            swapped.append(False)
            continue
        own = (one.of(0), one.of(1))
        same = sum(len(a & b) for a, b in zip(own, labels, strict=True))
        crossed = sum(len(a & b) for a, b in zip(own, reversed(labels), strict=True))
        swapped.append(crossed > same)
        for label, features in zip(reversed(labels) if crossed > same else labels, own, strict=True):
            label.update(features)
    both = labels[0] & labels[1]
    result: list[list[Matrix | None]] = [[], []]
    for one, swap in zip(found, swapped, strict=True):
        for layer, (matrix, label) in enumerate(zip(result, labels, strict=True)):
            if one.second is not None:
                matrix.append(one.first if (layer == 0) != swap else one.second)
                continue
            at = [i for i, feature in enumerate(one.features.tolist()) if feature in label and feature not in both]
            agrees = len(at) >= _LEAST // 2 and float(np.median(one.errors[0][at])) < _NEAR
            matrix.append(one.first if agrees else None)
    return result


def _second(source: View, target: View, whole: Matrix) -> _Found:
    """Looks for a layer beside that of a homography between whole frames."""
    there, here = plate_alignment.reduction(target.factor), plate_alignment.reduction(source.factor)
    first = there @ whole @ np.linalg.inv(here)
    pairs = plate_alignment.match(source.features, target.features)
    a, b = source.features.points[pairs[:, 0]], target.features.points[pairs[:, 1]]
    errors = _errors(first, a, b)
    nothing = _Found(whole, None, pairs[:, 0], (errors, np.full(len(errors), np.inf)))
    left = (errors > _NEAR) & (errors < _FAR)
    if np.count_nonzero(left) < _LEAST:
        return nothing
    back = np.stack(plate_alignment.mapped(np.linalg.inv(first), *b[left].T.astype(np.float64)), axis=1)
    change, inliers = cv2.estimateAffinePartial2D(
        a[left], back, method=cv2.RANSAC, ransacReprojThreshold=2.0, maxIters=5000, confidence=0.9999
    )
    if change is None or np.count_nonzero(inliers) < _LEAST:
        return nothing
    matrix = first @ np.vstack([change, [0, 0, 1]])
    points = _points(source, target, first, matrix)
    if len(points) < _LEAST_POINTS:
        return nothing
    fitted, correlation = plate_alignment.fit(source, target, matrix, points, plate_alignment.STEADY_CHANGE)
    own = _errors(fitted, a, b)
    if (
        correlation < _LEAST_CORRELATION
        or not plate_alignment.is_view(fitted, source.grey.shape)
        or np.count_nonzero((own < _NEAR) & (errors > _NEAR)) < _LEAST
    ):
        return nothing
    second: Matrix = np.linalg.inv(there) @ fitted @ here
    return _Found(whole, second / float(second[2, 2]), pairs[:, 0], (errors, own))


def _errors(matrix: Matrix, here: Array, there: Array) -> NDArray[np.float64]:
    u, v = plate_alignment.mapped(matrix, *here.T.astype(np.float64))
    return np.asarray(np.hypot(u - there[:, 0], v - there[:, 1]), np.float64)


def _points(source: View, target: View, first: Matrix, second: Matrix) -> Array:
    """The fit points that the second homography explains and the first does not."""
    points = source.fit_points
    column, row = points.T.astype(int)
    here = source.smooth[1.0][row, column, 0]
    picture = target.smoothed(1.0)
    differences = []
    shown = np.ones(len(points), bool)
    for matrix in (first, second):
        u, v = (part.astype(np.float64) for part in plate_alignment.mapped(matrix, *points.T.astype(np.float64)))
        within = plate_alignment.inside(target, u, v)
        error = plate_alignment.sampled(picture, u, v)[:, 0] - here
        differences.append(np.abs(error - np.median(error[within])) if within.any() else error)
        shown &= within
    if not shown.any():
        return points[:0]
    least = max(_NOISE, 2.5 * 1.4826 * float(np.median(differences[0][shown])))
    result: Array = points[shown & (differences[0] > least) & (differences[1] < _EXPLAINED * differences[0])]
    return result
