"""How far fixed points of the background wander: ORB features of late frames against those of the first frame.

Source: arXiv 2608.28694 for the definition (fBD) and constants; Rublee et al. 2011 for ORB.
"""

import cv2
import numpy as np

from steady_jax.evaluation.flow import columns_rows, grey
from steady_jax.evaluation.stability import late_frames
from steady_jax.shapes import Bool, UInt8

FEATURES = 1500
LEAST_MATCHES, LEAST_INLIERS = 12, 8
NEAR = 3.0  # pixels of 288 rows


def background_drift(
    frames: UInt8[np.ndarray, "kept h w 3"], static: Bool[np.ndarray, "h w"], late: slice
) -> float | None:
    """fBD: the median displacement of matched features inside `static`, mean over late frames, % of the diagonal.

    None if no late frame has 12 matches with the first: a background without corners, or one that is gone.
    """
    orb = cv2.ORB_create(FEATURES)
    size = columns_rows(*static.shape)
    mask = cv2.resize(static.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)

    def features(frame: np.ndarray) -> tuple:
        return orb.detectAndCompute(cv2.resize(grey(frame), size, interpolation=cv2.INTER_CUBIC), mask)

    first = features(frames[0])
    moved = [_displacement(first, features(frame)) for frame in late_frames(frames, late)]
    valid = [distance for distance in moved if distance is not None]
    return float(np.mean(valid) / np.hypot(*size) * 100) if valid else None


def _displacement(first: tuple, late: tuple) -> float | None:
    """The median distance of matched features, in pixels of 288 rows."""
    (places, descriptors), (late_places, late_descriptors) = first, late
    if descriptors is None or late_descriptors is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(descriptors, late_descriptors)
    if len(matches) < LEAST_MATCHES:
        return None
    start = np.float32([places[match.queryIdx].pt for match in matches])
    end = np.float32([late_places[match.trainIdx].pt for match in matches])
    _, inliers = cv2.findHomography(start, end, cv2.RANSAC, NEAR)
    if inliers is not None and inliers.sum() >= LEAST_INLIERS:
        chosen = inliers.ravel().astype(bool)
        start, end = start[chosen], end[chosen]
    return float(np.median(np.hypot(*(end - start).T)))
