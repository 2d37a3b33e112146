"""What is kept of one video: its prompt, what the classifier named, and all measures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from steady_jax.evaluation import classifier, report, sharpness
from steady_jax.evaluation.classifier import Classifier
from steady_jax.scenes import FRAMES_PER_SECOND
from steady_jax.shapes import Bool, UInt8

SHORT = 5.0  # seconds at the beginning and the end that are named and measured by themselves

Record = Mapping[str, Any]


def record_of(
    judge: Classifier,
    kind: str,
    prompt: str,
    seed: int,
    video: UInt8[np.ndarray, "f h w 3"],
    mask: Bool[np.ndarray, "h w"] | None,
) -> Record:
    """All that a report needs, as plain numbers.

    Returns:
        "kind" of the scene, "prompt", "seed" of the noise; "first_named" and "last_named", kinds; "sharpness" of the
        first five seconds; "first" and "whole", the measures of these and of the video; "fell_back", whether no
        threshold parted what moves in it.
    """
    count = round(SHORT * FRAMES_PER_SECOND)
    beginning, end = video[: count + 1], video[-count:]
    first = report.measure(beginning, FRAMES_PER_SECOND, mask)
    whole = first if len(video) == len(beginning) else report.measure(video, FRAMES_PER_SECOND, mask)
    return {
        "kind": kind,
        "prompt": prompt,
        "seed": seed,
        "first_named": _named(judge, video[:count]),
        "last_named": _named(judge, end),
        "sharpness": float(sharpness.laplacian_variance(beginning).mean()),
        "first": dict(first.values),
        "whole": dict(whole.values),
        "fell_back": whole.fell_back,
    }


def _named(judge: Classifier, video: UInt8[np.ndarray, "f h w 3"]) -> str:
    return judge.kinds[int(np.argmax(classifier.probabilities(judge, video)))]
