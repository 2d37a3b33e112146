"""Clips and shards for the tests of data."""

import av
import numpy as np

from steady_jax.data.records import Contents, ShardWriter, text_array

STEP = 8  # grey levels from one frame to the next: what a frame looks like tells its number


def numbered(count, height=32, width=48):
    """Grey frames [count height width 3], frame k of level STEP * k."""
    greys = STEP * np.arange(count, dtype=np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (count, height, width, 3)).copy()


def numbers(pixels):
    """Which frames of `numbered` these are."""
    return np.rint(pixels.astype(float).mean((1, 2, 3)) / STEP).astype(int).tolist()


def write_clip(path, frames=20, caption=None, **size):
    """Writes `numbered` frames at 16 per second, and the caption beside them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"qp": "1", "preset": "ultrafast"})
        for number, pixels in enumerate(numbered(frames, **size)):
            if not number:
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def write_shards(folder, records, fields, records_per_shard=3, settings=()):
    """Writes a folder of shards at once."""
    writer = ShardWriter(folder, Contents(fields, len(records), records_per_shard, dict(settings)))
    for shard in writer.missing():
        writer.write(shard, [records[number] for number in writer.contents.numbers(shard)])
    assert writer.finish()
    return folder


def prompt_records(count):
    return [{"prompt": text_array(f"prompt {number}")} for number in range(count)]
