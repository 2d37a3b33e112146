"""The first frames of a video that is there already, as they are: to look at them, or to go on after them.

Nothing here changes the video, and nothing behind the frames asked for is read: it may still grow, or end torn.
"""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from steady_jax.run.fragments import whole_frames

AS_MARKED = {"fflags": "noparse+nofillin"}  # or FFmpeg guesses more keyframes, at cuts in the picture, than are marked


@contextlib.contextmanager
def first_frames(path: Path, frames: int) -> Iterator[av.container.InputContainer]:
    """Opens a video as if it ended after its first `frames` frames.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds fewer whole frames, or less than one is asked for.
    """
    if frames < 1:
        raise ValueError(f"at least 1 frame of a video can be taken, got {frames}")
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist, so its first {frames} frames cannot be taken; begin a new video"
        )
    held, end = whole_frames(path, frames)
    if held < frames:
        raise ValueError(
            f"{path} holds {held} whole frames as VideoWriter writes them, fewer than the {frames} to be taken;"
            " ask for fewer, or begin a new video"
        )
    # FFmpeg's own window on a file. Not a file object in Python: Ctrl-C inside one of its callbacks would be lost
    with av.open(f"subfile,,start,0,end,{end},,:{path}", format="mp4", options=AS_MARKED) as container:
        yield container


def check_goes_on(path: Path, frames: int, encoder: av.VideoCodecContext) -> None:
    """Checks that what an open encoder makes can stand behind the first `frames` frames of a video.

    A file has one set of H.264 parameters for all of its frames: behind another encoder's they decode as garbage, and
    no player says so.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds fewer whole frames, or was made with other settings.
    """
    with first_frames(path, frames) as container:
        video = container.streams.video[0]
        made, wanted = _pictures(video.codec_context, video.average_rate), _pictures(encoder, encoder.framerate)
        if made != wanted:
            raise ValueError(
                f"a video goes on with the size and the speed it began with; {path} holds {made}, got {wanted}:"
                " resume with its settings, or begin a new video"
            )
        if video.codec_context.extradata != encoder.extradata:
            raise ValueError(
                f"a video goes on with the encoder it began with; {path} has other H.264 parameter sets than the"
                " encoder makes now: resume with its crf, its preset and its version of x264, or begin a new video"
            )


def copy_packets(
    video: av.container.InputContainer, container: av.container.OutputContainer, stream: av.VideoStream
) -> int:
    """Copies the packets of a video to a stream, not decoded, and returns their number. One is in memory at a time.

    Raises:
        OSError: the disk refuses.
    """
    copied = 0
    for packet in video.demux(video=0):
        if packet.size:  # an empty one tells a decoder that the end is reached
            packet.stream = stream
            container.mux(packet)
            copied += 1
    return copied


def _pictures(codec: av.VideoCodecContext, fps: Fraction | None) -> str:
    return f"{codec.height} x {codec.width} (rows x columns) at {fps} frames per second"
