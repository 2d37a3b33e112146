"""Colours as they are seen: CIELAB, and the distance CIEDE2000.

Source: Sharma, Wu and Dalal 2005, "The CIEDE2000 color-difference formula", from which names are taken.
"""

import cv2
import numpy as np

from steady_jax.shapes import Float

FAR = 25.0**7


def lab(rgb: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """CIELAB (D65) of sRGB levels 0..255."""
    return cv2.cvtColor((rgb / 255).astype(np.float32), cv2.COLOR_RGB2Lab)


def ciede2000(one: Float[np.ndarray, "*shape 3"], other: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape"]:
    """Distances of Lab colours; 1 is about what can just be seen."""
    (L1, a1, b1), (L2, a2, b2) = (np.moveaxis(np.asarray(colour, np.float64), -1, 0) for colour in (one, other))
    mean_C = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * _near_one(mean_C)
    C1, C2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    colourless = C1 * C2 == 0
    apart = h2 - h1
    apart = np.where(colourless, 0, apart - 360 * (apart > 180) + 360 * (apart < -180))
    dL, dC, dH = L2 - L1, C2 - C1, 2 * np.sqrt(C1 * C2) * np.sin(np.radians(apart / 2))
    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    h = np.where(colourless, h1 + h2, h1 + apart / 2)  # halfway along the shorter arc
    S_L = 1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2)
    S_C = 1 + 0.045 * C
    S_H = 1 + 0.015 * C * (
        1 - 0.17 * _cos(h - 30) + 0.24 * _cos(2 * h) + 0.32 * _cos(3 * h + 6) - 0.2 * _cos(4 * h - 63)
    )
    turn = 30 * np.exp(-((((h % 360) - 275) / 25) ** 2))
    R_T = -2 * _near_one(C) * np.sin(np.radians(2 * turn))
    lightness, chroma, hue = dL / S_L, dC / S_C, dH / S_H
    return np.sqrt(np.maximum(lightness**2 + chroma**2 + hue**2 + R_T * chroma * hue, 0))


def _near_one(chroma: np.ndarray) -> np.ndarray:
    """From 0 for greys to 1 for strong colours."""
    return np.sqrt(chroma**7 / (chroma**7 + FAR))


def _cos(degrees: np.ndarray) -> np.ndarray:
    return np.cos(np.radians(degrees))
