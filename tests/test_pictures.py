import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from helpers_video import moving
from PIL import Image

from steady_jax.pictures import fit_text, fitted, read_clip, read_picture, whole_blocks
from steady_jax.run.writer import VideoWriter

REPOSITORY = Path(__file__).parents[1]
HEIGHT, WIDTH = 32, 48
STEP = 4  # grey levels from one frame to the next: what a frame looks like tells its number
FRAGMENTS = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}


def colourful(height=6, width=10):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def noise(count):
    """Frames of which every one is large in a file."""
    return np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def numbered(count):
    greys = STEP * np.arange(count, dtype=np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (count, HEIGHT, WIDTH, 3))


def write_clip(path, frames, fps=16, *, codec="libx264", times=None, turn=0, pixel_shape=None, options=None):
    """Writes a video as other programs make it; times, if given, are milliseconds."""
    with av.open(str(path), "w", container_options=options or {}) as container:
        container.metadata["comment"] = "a beach"
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        if pixel_shape:
            stream.codec_context.sample_aspect_ratio = pixel_shape
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path, cover=False):
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        if cover:
            picture = container.add_stream("png", rate=1)
            picture.height, picture.width, picture.pix_fmt = HEIGHT, WIDTH, "rgb24"
            picture.disposition = Disposition.attached_pic
            pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(picture.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    return path


def write_nothing(path, **options):
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream("libx264", rate=16)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        container.start_encoding()
    return path


def taken(clip, first=0):
    """Numbers of the frames that a clip of `numbered` frames gives."""
    return [round(float(frame.mean()) / STEP) for frame in clip.frames_from(first)]


# pictures


@pytest.mark.parametrize("name", ["p.png", "p.bmp", "p.webp", "p.tiff", "p.gif"])
def test_a_picture_is_read_as_one_frame(tmp_path, name):
    pixels = colourful()
    Image.fromarray(pixels).save(tmp_path / name, lossless=True)
    frames = read_picture(str(tmp_path / name))
    assert frames.shape == (1, 6, 10, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[0], pixels)
    frames[0, 0, 0] = 0  # it is the caller's own


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (3, lambda stored: stored[::-1, ::-1]),
        (5, lambda stored: stored.swapaxes(0, 1)),  # also mirrored
        (6, lambda stored: np.rot90(stored, -1)),  # a phone held upright
        (8, lambda stored: np.rot90(stored)),
    ],
)
def test_a_photo_stands_upright(tmp_path, orientation, shown):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colourful()).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "photo.png")[0], shown(colourful()))


def test_a_photo_of_damaged_exif_is_read_as_it_lies(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "p.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert read_picture(tmp_path / "p.jpg").shape == (1, 6, 8, 3)


GREYS = np.array([[0, 1, 100], [200, 254, 255]], np.uint8)


@pytest.mark.parametrize("name", ["g.png", "g.pgm", "g.tiff"])
def test_16_bits_are_scaled_to_8(tmp_path, name):
    Image.fromarray(GREYS.astype(np.uint16) * 257).save(tmp_path / name)
    np.testing.assert_array_equal(read_picture(tmp_path / name)[0], np.stack([GREYS] * 3, axis=-1))


def test_16_bits_are_rounded(tmp_path):
    Image.fromarray(np.array([[128, 129, 65407]], np.uint16)).save(tmp_path / "g.png")
    assert read_picture(tmp_path / "g.png")[0, 0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_greys_and_palettes_become_colours(tmp_path, mode):
    picture = Image.fromarray(colourful()).convert(mode)
    picture.save(tmp_path / "g.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "g.png")[0], np.asarray(picture.convert("RGB")))


def test_printed_colours_become_light(tmp_path):
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0]]], np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "p.tiff")
    assert read_picture(tmp_path / "p.tiff")[0].tolist() == [[[255, 255, 255], [0, 0, 0], [0, 255, 255]]]


def test_transparency_shows_white(tmp_path):
    colours = np.array([[[9, 9, 9, 0], [200, 100, 0, 255], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(colours, "RGBA").save(tmp_path / "c.png")
    assert read_picture(tmp_path / "c.png")[0].tolist() == [[[255, 255, 255], [200, 100, 0], [204, 204, 204]]]
    Image.fromarray(colours[..., 2:], "LA").save(tmp_path / "g.png")
    assert read_picture(tmp_path / "g.png")[0, ..., 0].tolist() == [[255, 0, 204]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_picture(tmp_path / "p.png")[0].tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animation_gives_its_first_frame(tmp_path, name):
    first, *others = (Image.new("RGB", (4, 2), colour) for colour in ("red", "green", "blue"))
    first.save(tmp_path / name, save_all=True, append_images=others, lossless=True)
    assert read_picture(tmp_path / name).tolist() == [[[[255, 0, 0]] * 4] * 2]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.array([[0, 70000]], np.int32), r"p\.tiff .*its pixels are 0\.\.65535 in 16 bits, got 0\.\.70000"),
        (np.array([[-1, 7]], np.int32), r"got -1\.\.7\)"),
        (np.array([[0, 0.5]], np.float32), "its pixels are fractions.*save it again as PNG"),
    ],
)
def test_numbers_that_are_no_colours_are_refused(tmp_path, numbers, message):
    Image.fromarray(numbers).save(tmp_path / "p.tiff")
    with pytest.raises(ValueError, match=message):
        read_picture(tmp_path / "p.tiff")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_torn_picture_is_refused(tmp_path, kind):
    file = io.BytesIO()
    Image.fromarray(colourful(40, 60)).save(file, kind)
    path = tmp_path / "torn"
    path.write_bytes(file.getvalue()[: len(file.getvalue()) * 2 // 3])
    with pytest.raises(ValueError, match=r"torn cannot be read as a picture \(.*save it again as PNG or JPEG"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"a beach in winter\n" * 20])
def test_what_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "beach.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"beach\.png cannot be read as a picture \(it is of no known kind\)"):
        read_picture(path)


@pytest.mark.parametrize("limit", [40, 60])  # above the limit PIL warns, above twice the limit it refuses
def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch, limit):
    Image.new("L", (10, 10)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"bomb\.png is too large .* \(100 pixels\) .* of \d+ pixels; make .* smaller"):
        read_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("read", [read_picture, read_clip])
def test_a_file_must_be_there(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"none\.png does not exist; name a picture or a video"):
        read(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        read(tmp_path)


# clips


@pytest.mark.parametrize("name", ["c.mp4", "c.mkv", "c.avi", "c.ts", "c.h264"])
def test_a_clip_of_the_same_rate_gives_every_frame_once(tmp_path, name):
    """Matroska rounds times to milliseconds, ts begins at no round time, bare H.264 holds no times."""
    clip = read_clip(str(write_clip(tmp_path / name, numbered(23))))
    assert (clip.path, clip.height, clip.width) == (tmp_path / name, HEIGHT, WIDTH)
    assert clip.frames == 23
    assert taken(clip) == list(range(23))


def test_a_clip_knows_its_size_rate_and_length(tmp_path):
    clip = read_clip(write_clip(tmp_path / "c.mp4", numbered(45), 30))
    assert (clip.height, clip.width, clip.fps, clip.frames) == (HEIGHT, WIDTH, 16, 24)
    assert (clip.source_fps, clip.seconds) == (30, 1.5)
    frame = next(clip.frames_from())
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.dtype == np.uint8


@pytest.mark.parametrize(
    ("source", "fps", "expected"),
    [
        (30, 16, [0, 1, 3, 5, 7, 9, 11, 13, 15, 16, 18]),  # shown at k / 16 s: the last whole number up to 30 k / 16
        (24, 16, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16, 18, 19]),
        (12, 16, [0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12, 12, 13, 14, 15, 15, 16, 17, 18, 18, 19]),
        (16, 4, [0, 4, 8, 12, 16]),
        (16, 32, [number for number in range(20) for _ in range(2)]),
    ],
)
@pytest.mark.parametrize("name", ["c.mp4", "c.mkv"])
def test_frames_of_another_rate_are_chosen_by_time(tmp_path, name, source, fps, expected):
    clip = read_clip(write_clip(tmp_path / name, numbered(20), source), fps)
    assert taken(clip) == expected
    assert clip.frames == len(expected)


def test_joined_clips_are_one(tmp_path):
    """The times of the second begin anew."""
    first, second = (write_clip(tmp_path / f"{name}.ts", numbered(8)[name:]) for name in (0, 3))
    (tmp_path / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    clip = read_clip(tmp_path / "c.ts")
    assert taken(clip) == [0, 1, 2, 3, 4, 5, 6, 7, 3, 4, 5, 6, 7]
    assert clip.frames == 13


def test_frames_of_no_even_rate_are_chosen_by_time(tmp_path):
    times = [100, 110, 200, 300, 600]  # milliseconds; Flash video tells no length of the last frame
    clip = read_clip(write_clip(tmp_path / "c.flv", numbered(5), codec="flv", times=times))
    assert taken(clip) == [0, 1, 2, 2, 3, 3, 3, 3, 4]
    assert clip.seconds == 0.5625


def test_a_clip_of_one_frame(tmp_path):
    assert taken(read_clip(write_clip(tmp_path / "c.mp4", numbered(1), 120))) == [0]
    assert taken(read_clip(write_clip(tmp_path / "short.mp4", numbered(1), 2000))) == [0]  # of half a millisecond


def test_a_clip_can_be_read_from_any_frame_on_and_again(tmp_path):
    clip = read_clip(write_clip(tmp_path / "c.mp4", numbered(12)))
    assert taken(clip, first=9) == [9, 10, 11]
    assert taken(clip, first=0) == list(range(12))
    for first in (-1, 12):
        with pytest.raises(ValueError, match=rf"c\.mp4 has frames 0\.\.11 at 16 per second, got {first}"):
            clip.frames_from(first)


def test_a_clip_that_grew_since_gives_what_it_had(tmp_path):
    clip = read_clip(write_clip(tmp_path / "c.mp4", numbered(5)))
    write_clip(tmp_path / "c.mp4", numbered(9))
    assert taken(clip) == [0, 1, 2, 3, 4]


READING = """
import re, sys
from pathlib import Path
from steady_jax.pictures import read_clip
for path in sys.argv[1:]:
    for _ in read_clip(path, fps=60).frames_from():
        pass
    print(*re.findall(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()))  # peak
assert "jax" not in sys.modules
"""


def test_memory_does_not_grow_with_the_clip(tmp_path):
    greys = np.arange(160, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(greys, (160, 480, 640, 3))
    paths = [write_clip(tmp_path / f"{n}.avi", frames[:n], 30, codec="mpeg4") for n in (10, 160)]
    code = [sys.executable, "-c", READING, *map(str, paths)]
    short, long = map(int, subprocess.check_output(code, cwd=REPOSITORY, text=True).split())
    assert long - short < 15 * 1024  # KiB; as they are stored, 150 frames more are 66 MiB, as pixels 132


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_clip_stands_upright(tmp_path, turn):
    stored = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    stored[:, : HEIGHT // 2, : WIDTH // 2] = 200
    clip = read_clip(write_clip(tmp_path / "c.mp4", stored, turn=turn))
    expected = np.rot90(stored[0], turn // 90)
    assert (clip.height, clip.width) == expected.shape[:2]
    first, _ = clip.frames_from()
    assert first.flags.c_contiguous
    assert np.median(np.abs(first.astype(int) - expected)) <= 2


@pytest.mark.parametrize(("turn", "shown"), [(0, (HEIGHT, 2 * WIDTH)), (90, (2 * WIDTH, HEIGHT))])
def test_pixels_become_square(tmp_path, turn, shown):
    clip = read_clip(write_clip(tmp_path / "c.mp4", numbered(2), turn=turn, pixel_shape=Fraction(2)))
    assert (clip.height, clip.width) == shown
    assert next(clip.frames_from()).shape == (*shown, 3)


def test_videos_of_our_own_come_back(tmp_path):
    frames = moving(9)
    with VideoWriter(tmp_path / "v.mp4", height=48, width=64) as video:
        video.write(frames)
        video.write(np.full((2, 48, 64, 3), (255, 0, 0), np.uint8))
    clip = read_clip(tmp_path / "v.mp4")
    *shown, _, red = clip.frames_from()
    assert np.abs(np.array(shown).astype(int) - frames).mean() < 5
    assert np.abs(red.astype(int) - (255, 0, 0)).max() <= 3  # by the matrix that the file names: BT.601 gives another


def test_a_name_and_tags_may_hold_anything(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "data:clip.mp4", numbered(3))
    content = path.read_bytes()
    assert b"a beach" in content
    path.write_bytes(content.replace(b"a beach", b"a pl\xe5ge"))  # no UTF-8
    monkeypatch.chdir(tmp_path)
    assert taken(read_clip("data:clip.mp4")) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "content"),
    [("c.mp4", b""), ("c.mp4", b"a beach in winter\n" * 99), ("c.txt", b"a beach in winter\n" * 99)],
)
def test_what_is_no_video_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a video \(.*; convert it to mp4 with H\.264"):
        read_clip(tmp_path / name)


def test_a_clip_without_its_index_is_refused(tmp_path):
    path = write_clip(tmp_path / "c.mp4", numbered(9))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"c\.mp4 cannot be read as a video \(Invalid data.*give another clip"):
        read_clip(path)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_is_no_clip_even_with_a_cover_picture(tmp_path, cover):
    path = write_sound(tmp_path / "song.m4a", cover)
    with pytest.raises(ValueError, match=r"moving pictures, but .*song\.m4a holds only audio; give another file"):
        read_clip(path)


def test_a_file_without_frames_is_no_clip(tmp_path):
    with pytest.raises(ValueError, match=r"none\.mp4 holds no frame that can be decoded \(the file ends before"):
        read_clip(write_nothing(tmp_path / "none.mp4", container_options=FRAGMENTS))
    with pytest.raises(ValueError, match=r"none\.mp4 holds no video; give another file"):
        read_clip(write_nothing(tmp_path / "none.mp4"))


def test_a_video_of_unknown_kind_is_no_clip(tmp_path):
    path = write_clip(tmp_path / "c.mp4", numbered(3))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(ValueError, match=r"c\.mp4 holds no frame that can be decoded \(Decoder not found\)"):
        read_clip(path)


def test_a_torn_end_is_refused(tmp_path):
    path = write_clip(tmp_path / "c.mp4", noise(9), options=FRAGMENTS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"c\.mp4 is damaged after its first 0\.[1-4] s \(Invalid data.*cut it there"):
        read_clip(path)


def test_a_hole_in_the_middle_is_refused(tmp_path):
    path = write_clip(tmp_path / "c.avi", noise(32), codec="mpeg4")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.avi is damaged after its first [01]\.\d s \(a part .*cut it there"):
        read_clip(path)


def test_fps_is_checked(tmp_path):
    with pytest.raises(ValueError, match="fps is at least 1 frame per second, got 0"):
        read_clip(tmp_path / "c.mp4", fps=0)


# sizes


def test_frames_of_the_right_size_stay_as_they_are():
    frames = colourful(16, 32)[None]
    assert fitted(frames, 16, 32) is frames


def test_frames_that_are_only_cropped_keep_their_pixels():
    frames = moving(2)
    np.testing.assert_array_equal(fitted(frames, 48, 32), frames[:, :, 16:48])
    np.testing.assert_array_equal(fitted(frames, 16, 64), frames[:, 16:32])


@pytest.mark.parametrize("source", [(64, 48), (48, 64), (30, 200), (16, 24), (200, 31), (8, 9), (97, 145)])
def test_frames_are_resized_whole_and_then_cropped(source):
    """As by doing the two one after the other; PIL rounds colours twice on the way, to 2 levels at most."""
    height, width = 32, 48
    frame = np.asarray(Image.fromarray(moving(1)[0]).resize(source[::-1]))
    scale = max(height / source[0], width / source[1])
    rows, columns = (int(np.ceil(size * scale - 1e-9)) for size in source)
    top, left = (rows - height) // 2, (columns - width) // 2
    whole = np.asarray(Image.fromarray(frame).resize((columns, rows), Image.Resampling.LANCZOS))
    expected = whole[top : top + height, left : left + width]
    ours = fitted(frame[None], height, width)
    assert ours.shape == (1, height, width, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours[0].astype(int) - expected).max() <= 2
    assert np.abs(ours[0].astype(int) - expected).mean() < 0.1


def test_fine_patterns_become_grey():
    board = np.indices((64, 96)).sum(axis=0) % 2 * np.uint8(255)
    ours = fitted(np.broadcast_to(board[None, ..., None], (2, 64, 96, 3)).astype(np.uint8), 16, 24)
    assert ours.shape == (2, 16, 24, 3)
    assert np.abs(ours[:, 2:-2, 2:-2].astype(int) - 127.5).max() < 5


def test_a_narrow_strip_fits_into_memory():
    strip = np.full((1, 1, 60000, 3), 77, np.uint8)  # resized as a whole it would have 14 thousand million pixels
    assert np.all(fitted(strip, 480, 832) == 77)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ((480, 832), ""),
        ((1080, 1920), "1080x1920 (rows x columns) is resized to 480x854 and cropped by 22 columns"),
        ((1920, 1080), "1920x1080 (rows x columns) is resized to 1480x832 and cropped by 1000 rows"),
        ((960, 1664), "960x1664 (rows x columns) is resized to 480x832"),
        ((240, 416), "240x416 (rows x columns) is resized to 480x832"),
        ((480, 833), "480x833 (rows x columns) is cropped by 1 column"),
        ((481, 832), "481x832 (rows x columns) is cropped by 1 row"),
        ((481, 833), "481x833 (rows x columns) is resized to 481x832 and cropped by 1 row"),
    ],
)
def test_what_is_done_is_said_in_words(source, text):
    assert fit_text(*source, 480, 832) == text


# whole blocks


@pytest.mark.parametrize("when_odd", ["error", "crop"])
@pytest.mark.parametrize(("frames", "block"), [(21, 6), (45, 6), (240 + 21, 6), (9, 3), (1, 1), (5, 1)])
def test_a_clip_of_whole_blocks_is_used_whole(frames, block, when_odd):
    assert whole_blocks(frames, block, 4, when_odd) == (0, frames)


def test_the_beginning_of_an_odd_clip_is_cropped():
    assert whole_blocks(22, 6, 4, "crop") == (1, 21)
    assert whole_blocks(44, 6, 4, "crop") == (23, 21)
    assert whole_blocks(50, 6, 4, "crop") == (5, 45)
    assert whole_blocks(8, 3, 2, "crop") == (3, 5)


def test_an_odd_clip_is_an_error_that_names_what_fits():
    words = (
        r"whole blocks with 1 \+ 4 \* \(6 \* k - 1\) frames, got 44 frames \(2\.8 s\); the nearest that fit are 21"
        r' and 45: cut the clip, or set when_odd to "crop" to go on from its last 21'
    )
    with pytest.raises(ValueError, match=words):
        whole_blocks(44, 6, 4, "error")


@pytest.mark.parametrize("when_odd", ["error", "crop"])
@pytest.mark.parametrize("frames", [0, 20])
def test_a_clip_shorter_than_a_block_is_an_error(frames, when_odd):
    words = rf"at least 21 frames \(1\.3 s\), which make one block, got {frames} frames .*or a picture to start from"
    with pytest.raises(ValueError, match=words):
        whole_blocks(frames, 6, 4, when_odd)


def test_other_ways_with_an_odd_clip_are_unknown():
    with pytest.raises(ValueError, match="when_odd is one of error, crop, got 'pad'"):
        whole_blocks(21, 6, 4, "pad")
