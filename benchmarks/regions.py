"""How well a matte finds a subject: the measures of DAVIS (Perazzi et al., "A Benchmark Dataset and Evaluation
Methodology for Video Object Segmentation", CVPR 2016).

Mattes are ``[H, W]`` arrays; those of bool are regions.
"""

from __future__ import annotations

import cv2
import numpy as np

# Share of the picture's diagonal within which two boundaries agree.
_TOLERANCE = 0.008


def region_similarity(found: np.ndarray, truth: np.ndarray) -> float:
    """J, the Jaccard index: intersection over union; 1 where both regions are empty."""
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def boundary_accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """F, the harmonic mean of the boundaries' precision and recall within 0.8 % of the picture's diagonal."""
    radius = int(np.ceil(_TOLERANCE * np.hypot(*truth.shape)))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (rows**2 + columns**2 <= radius**2).astype(np.uint8)
    edges = [_boundary(region) for region in (found, truth)]
    if not all(edge.any() for edge in edges):
        return float(not any(edge.any() for edge in edges))
    near = [cv2.dilate(edge.astype(np.uint8), disc) > 0 for edge in edges]
    precision = np.count_nonzero(edges[0] & near[1]) / np.count_nonzero(edges[0])
    recall = np.count_nonzero(edges[1] & near[0]) / np.count_nonzero(edges[1])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(region: np.ndarray) -> np.ndarray:
    """[H, W] bool: pixels that differ from the one to the right, below, or both."""
    padded = np.pad(region, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    edge: np.ndarray = (here != padded[:-1, 1:]) | (here != padded[1:, :-1]) | (here != padded[1:, 1:])
    return edge
