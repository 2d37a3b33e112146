"""The boxes of a fragmented mp4, as far as needed to tell where its last whole frame ends.

A box is its length (4 bytes, big-endian), its name (4 bytes) and its content. One frame is a `moof` box that describes
it and a `mdat` box that holds it. A file that ends inside a `moof` may not open at all.

Source: ISO/IEC 14496-12, sections 4.2 and 8.8.
"""

import os
import struct
from pathlib import Path

HEADER = struct.Struct(">I4s")


def whole_frames(path: Path, most: int | None = None) -> tuple[int, int]:
    """Returns how many frames of an mp4 with one frame per fragment are whole, and the byte where the last one ends.

    With `most`, looks no further than that many frames.
    """
    frames = end = position = 0
    size = path.stat().st_size
    with path.open("rb") as file:
        while position + HEADER.size <= size and frames != most:
            file.seek(position)
            length, name = HEADER.unpack(file.read(HEADER.size))
            position += length
            if length < HEADER.size or position > size:
                break
            if name == b"mdat":
                frames, end = frames + 1, position
    return frames, end


def cut_after_whole_frames(path: Path) -> int:
    """Cuts a torn end off, or removes the file if it holds no frame. Returns the number of frames that are kept."""
    frames, end = whole_frames(path)
    if frames:
        os.truncate(path, end)
    else:
        path.unlink()
    return frames
