"""What measures of many videos say: means over prompts with intervals, differences of two models, abstentions."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from steady_jax.evaluation.energy import bootstrap_interval

Values = Mapping[str, float | None]  # of a video, by the measure's name; None: it abstains


@dataclasses.dataclass(frozen=True)
class Summary:
    """A measure over prompts. Without any value all but the counts are None."""

    mean: float | None
    median: float | None
    interval: tuple[float, float] | None  # of the mean, 95 %
    prompts: int  # that have a value
    abstained: int  # videos without a value; of a difference, prompts without one


def summary(videos: Mapping[str, Sequence[Values]]) -> dict[str, Summary]:
    """Each measure over prompts, a prompt's value being the mean over those of its videos that have one.

    Args:
        videos: by prompt; the same measures in all.
    """
    return {
        name: _summary(
            list(_by_prompt(videos, name).values()),
            abstained=sum(values[name] is None for of_prompt in videos.values() for values in of_prompt),
        )
        for name in _names(videos)
    }


def paired(one: Mapping[str, Sequence[Values]], other: Mapping[str, Sequence[Values]]) -> dict[str, Summary]:
    """`one` minus `other` on the prompts that both have: an interval that leaves out 0 is a difference.

    Raises:
        ValueError: no prompt is common, or the measures differ.
    """
    common = [prompt for prompt in one if prompt in other]
    if not common:
        raise ValueError(f"two models are compared on common prompts; of {len(one)} and {len(other)} none is common")
    pair = [{prompt: videos[prompt] for prompt in common} for videos in (one, other)]
    names = _names({(place, prompt): pair[place][prompt] for place in (0, 1) for prompt in common})
    found = {}
    for name in names:
        a, b = (_by_prompt(videos, name) for videos in pair)
        both = [a[prompt] - b[prompt] for prompt in common if prompt in a and prompt in b]
        found[name] = _summary(both, abstained=len(common) - len(both))
    return found


def _names(videos: Mapping[object, Sequence[Values]]) -> list[str]:
    """The measures that all videos have.

    Raises:
        ValueError: there is no video, or not all have the same.
    """
    every = [values for of_prompt in videos.values() for values in of_prompt]
    if not every:
        raise ValueError("there are no videos to summarise")
    names = list(every[0])
    if odd := {name for values in every for name in values.keys() ^ set(names)}:
        raise ValueError(f"all videos must have the same measures; not all have {', '.join(sorted(odd))}")
    return names


def _by_prompt(videos: Mapping[str, Sequence[Values]], name: str) -> dict[str, float]:
    """The mean of each prompt that has a value."""
    values = {
        prompt: [value[name] for value in of_prompt if value[name] is not None] for prompt, of_prompt in videos.items()
    }
    return {prompt: float(np.mean(found)) for prompt, found in values.items() if found}


def _summary(values: list[float], abstained: int) -> Summary:
    if not values:
        return Summary(None, None, None, 0, abstained)
    row = np.array(values)
    return Summary(float(row.mean()), float(np.median(row)), bootstrap_interval(row), len(row), abstained)
