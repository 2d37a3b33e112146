"""Prompts over time, and the lengths of a video: seconds, pixel frames and blocks.

A schedule is one line: `waves on a beach [5s] | fog rolls in [10.5s#] | night falls`. A bar ends a scene; [5s] is how
long it lasts, and # cuts hard to the next one. Prompts with bars or brackets of their own go into a scene file.
"""

import dataclasses
import itertools
import math
import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

FRAMES_PER_SECOND = 16
MOST_FRAMES = 2**31 - 1
DEFAULT_BLOCKS = 14  # of a scene without a duration

DURATION = re.compile(r"\s*(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*s\s*(#?)\s*")
LITERALLY = "a prompt with brackets or bars of its own goes into a scene file"
SHOWN = 40  # characters of a text in an error, on each side of the place


@dataclasses.dataclass(frozen=True)
class Scene:
    """A stretch of a video with one prompt."""

    prompt: str
    seconds: float | None = None  # None: DEFAULT_BLOCKS blocks
    cut: bool = False  # begins with a scene cut
    flush: bool | None = None  # whether its beginning purges the memory; None: as the policy does

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ValueError(f"the prompt of a scene must hold text, got {self.prompt!r}")
        if self.seconds is not None:
            check_seconds(self.seconds)


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Scenes in the order of a video, and where each begins."""

    scenes: tuple[Scene, ...]
    starts: tuple[int, ...]  # the block at which each scene begins; the first is 0
    blocks: int
    frames: int  # pixel frames that come out; the last block may make more

    @property
    def rhythm(self) -> tuple:
        """All but the prompts: videos with the same rhythm can be made in step."""
        return self.starts, self.blocks, self.frames, tuple((scene.flush, scene.cut) for scene in self.scenes)


def timeline(
    scenes: Sequence[Scene], seconds: float | None, block_frames: int, temporal_stride: int, continued: bool = False
) -> Timeline:
    """Lays scenes out in whole blocks: floor(16 * seconds / (block_frames * temporal_stride)) of each, at least 1.

    Args:
        scenes: at least one.
        seconds: length of the video; the last scene is extended or cut to it. None: the scenes give the length.
        block_frames: latent frames of a block.
        temporal_stride: pixel frames of a latent frame.
        continued: as for `blocks_for`.
    Raises:
        ValueError: no scene, a cut before anything can be seen, a length that makes no frame or too many of them, or a
            scene that would begin at the end or after it.
    """
    if not scenes:
        raise ValueError("a video needs at least one scene, got none")
    if scenes[0].cut and not continued:
        raise ValueError("the first scene cannot begin with a cut, as nothing comes before it; set its cut to False")
    frames_of_block, missing = temporal_stride * block_frames, _missing(temporal_stride, continued)
    *starts, total = itertools.accumulate((_blocks(scene, frames_of_block) for scene in scenes), initial=0)
    if seconds is None:
        blocks, frames = total, frames_of_block * total - missing
        if frames > MOST_FRAMES:
            raise ValueError(
                f"scenes must make at most {MOST_FRAMES} frames together (frames are counted in 32 bits), got {frames};"
                " shorten them"
            )
    else:
        frames = pixel_frames(seconds)
        blocks = blocks_for(frames, block_frames, temporal_stride, continued)
    for number, (scene, start) in enumerate(zip(scenes, starts, strict=True), 1):
        if start >= blocks:
            begin, end = ((count / FRAMES_PER_SECOND) for count in (frames_of_block * start - missing, frames))
            raise ValueError(
                f"every scene must begin before the video ends, but scene {number} ({shortened(scene.prompt)!r}) would "
                f"begin at {begin} s of {end} s; make the video longer, shorten the scenes before it, or leave the "
                "length to the scenes (no seconds)"
            )
    return Timeline(tuple(scenes), tuple(starts), blocks, frames)


def pixel_frames(seconds: float) -> int:
    """Frames of a video of this length.

    Raises:
        ValueError: not even one frame.
    """
    if not math.isfinite(seconds) or round(FRAMES_PER_SECOND * seconds) < 1:
        raise ValueError(
            f"seconds must be positive and make at least one frame (1/{FRAMES_PER_SECOND} s), got {seconds}"
        )
    if FRAMES_PER_SECOND * seconds > MOST_FRAMES:
        raise ValueError(
            f"seconds must make at most {MOST_FRAMES} frames (frames are counted in 32 bits), got {seconds}"
        )
    return round(FRAMES_PER_SECOND * seconds)


def blocks_for(frames: int, block_frames: int, temporal_stride: int, continued: bool = False) -> int:
    """Blocks that decode to at least `frames` pixel frames: the first latent frame gives 1, each other one a stride.

    With `continued`, where a video goes on from given frames, the first one gives a stride as well.
    """
    return math.ceil((frames + _missing(temporal_stride, continued)) / (temporal_stride * block_frames))


def check_seconds(seconds: float) -> None:
    """Refuses what is no length of a scene; a very short scene still gets one block.

    Raises:
        ValueError: seconds that are not positive, or make more frames than can be counted.
    """
    if not 0 < FRAMES_PER_SECOND * seconds <= MOST_FRAMES:
        raise ValueError(
            f"the seconds of a scene must be positive and at most {MOST_FRAMES // FRAMES_PER_SECOND}, got {seconds}"
        )


def parse(text: str) -> tuple[Scene, ...]:
    """Reads a schedule; text without bars and brackets is one scene. Runs of white space become one space.

    Raises:
        ValueError: the text is no schedule; the message shows the place.
    """
    if not text.strip():
        raise ValueError(f"a prompt must hold text, got {text!r}")
    scenes: list[Scene] = []
    start, cut = 0, False
    for part in text.split("|"):
        prompt, seconds, cut_after = _part(text, start, start + len(part))
        scenes.append(Scene(one_line(prompt), seconds, cut))
        start, cut = start + len(part) + 1, cut_after
    return tuple(scenes)


def one_line(text: str) -> str:
    """The text without line breaks: each run of white space is one space, and none is left at the ends."""
    return " ".join(text.split())


def shortened(text: str) -> str:
    """The beginning of a text, for errors."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _missing(temporal_stride: int, continued: bool) -> int:
    """Pixel frames that the first latent frame gives less than any other."""
    return 0 if continued else temporal_stride - 1


def _blocks(scene: Scene, frames_of_block: int) -> int:
    if scene.seconds is None:
        return DEFAULT_BLOCKS
    return max(1, FRAMES_PER_SECOND * Fraction(scene.seconds) // frames_of_block)  # exact, unlike a float's floor


def _part(text: str, start: int, end: int) -> tuple[str, float | None, bool]:
    """Prompt, seconds and "a cut follows" of the scene that stands at text[start:end]."""
    opening = _find(r"[\[\]]", text, start, end)
    seconds, cut_after = None, False
    if opening < end:
        if text[opening] == "]":
            raise _misplaced(text, opening, f"a ']' needs a '[' before it; {LITERALLY}")
        closing = _find(r"[\[\]]", text, opening + 1, end)
        if closing == end:
            raise _misplaced(text, opening, f"a '[' must be closed before its scene ends; {LITERALLY}")
        if text[closing] == "[":
            raise _misplaced(text, closing, f"brackets cannot hold brackets, only a duration as in [5s]; {LITERALLY}")
        seconds, cut_after = _duration(text, opening + 1, closing)
        _check_nothing_follows(text, closing + 1, end)
    if not text[start:opening].strip():
        raise _without_prompt(text, start, opening, end)
    return text[start:opening], seconds, cut_after


def _duration(text: str, start: int, end: int) -> tuple[float, bool]:
    place = _find(r"\S", text, start, end)
    found = DURATION.fullmatch(text, start, end)
    if found is None:
        rule = "brackets hold a duration as in [5s], or as in [10.5s#] with a cut after it"
        raise _misplaced(text, place, f"{rule}, got [{shortened(one_line(text[start:end]))}]; {LITERALLY}")
    seconds = float(found[1])
    try:
        check_seconds(seconds)
    except ValueError as error:
        raise _misplaced(text, place, str(error)) from None
    return seconds, found[2] == "#"


def _check_nothing_follows(text: str, start: int, end: int) -> None:
    place = _find(r"\S", text, start, end)
    if place == end:
        return
    if text[place] == "]":
        raise _misplaced(text, place, f"a ']' needs a '[' before it; {LITERALLY}")
    if text[place] == "[":
        raise _misplaced(text, place, "a scene has one duration; remove one, or put a '|' and a prompt between them")
    raise _misplaced(text, place, "the duration ends a scene; put a '|' before this text, or the duration after it")


def _without_prompt(text: str, start: int, opening: int, end: int) -> ValueError:
    if opening < end:
        return _misplaced(text, opening, "every scene needs a prompt; there is none before this duration")
    if end < len(text):
        return _misplaced(text, end, "every scene needs a prompt; there is none before this '|'")
    return _misplaced(text, start - 1, "every scene needs a prompt; there is none after this '|'")


def _find(pattern: str, text: str, start: int, end: int) -> int:
    """Where the pattern is first found in text[start:end]; `end` if nowhere."""
    found = re.compile(pattern).search(text, start, end)
    return found.start() if found else end


def _misplaced(text: str, place: int, rule: str) -> ValueError:
    """An error of three lines: the column and the rule, the text around the place, a caret below the place."""
    before = re.sub(r"\s+", " ", text[:place]).lstrip()
    before = before if len(before) <= SHOWN else f"...{before[3 - SHOWN :]}"
    # an ideographic space is as wide as the wide characters of a terminal
    blank = "".join("\u3000" if unicodedata.east_asian_width(letter) in "WF" else " " for letter in before)
    return ValueError(f"column {place + 1}: {rule}\n  {before}{shortened(one_line(text[place:]))}\n  {blank}^")
