import dataclasses
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from helpers_data import numbered, numbers, prompt_records, write_clip, write_shards

from steady_jax.data.batches import batches
from steady_jax.data.clips import CAPTIONS_FILE
from steady_jax.data.descriptions import description
from steady_jax.data.records import TEXT, Field, text_array
from steady_jax.data.sources import ENDLESS, Source, open_items
from steady_jax.text import ByteTokenizer

FRAMES, HEIGHT, WIDTH = 9, 16, 16
CLIPS_OF_ANY_LENGTH = Field("uint8", (None, 32, 48, 3))
SIZE = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three clips of 20 frames, b without a caption of its own but in captions.jsonl of another folder."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("c", "a", "b"):
        write_clip(folder / f"{name}.mp4", caption=f"This is {name}.\n")
    return folder


def prompts_file(folder: Path, count=5):
    file = folder / "prompts.txt"
    file.write_text("".join(f"prompt {number}\n\n" for number in range(count)))
    return str(file)


def all_of(items):
    return [items[number] for number in range(len(items))]


def test_prompts_become_text_or_tokens(tmp_path):
    source = Source("prompts", prompts_file(tmp_path))
    assert [item["prompt"] for item in all_of(open_items(source))] == [f"prompt {number}" for number in range(5)]
    tokenizer = ByteTokenizer(12)
    items = open_items(source, tokenizer=tokenizer)
    ids, mask = tokenizer.encode(["prompt 3"])
    assert items[3].keys() == {"ids", "mask"}
    np.testing.assert_array_equal(items[3]["ids"], ids[0])
    np.testing.assert_array_equal(items[3]["mask"], mask[0])
    batch = next(batches(items, batch=2, seed=0))
    assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
        "ids": ((2, 12), np.int32),
        "mask": ((2, 12), np.int32),
    }


def test_held_out_items_are_the_last_and_never_train(tmp_path):
    source = Source("prompts", prompts_file(tmp_path), held_out=2)
    train, held_out = open_items(source), open_items(source, held_out=True)
    assert [item["prompt"] for item in all_of(held_out)] == ["prompt 3", "prompt 4"]
    shown = batches(train, batch=3, seed=0)
    seen = {text for _ in range(4) for text in next(shown)["prompt"]}
    assert seen == {"prompt 0", "prompt 1", "prompt 2"}
    with pytest.raises(ValueError, match="5 items: 5 cannot be held out"):
        open_items(dataclasses.replace(source, held_out=5))
    with pytest.raises(ValueError, match="no items are held out"):
        open_items(dataclasses.replace(source, held_out=0), held_out=True)


def test_clips_give_stretches_with_their_captions(clips):
    items = open_items(Source("clips", str(clips), **SIZE))
    assert [item["prompt"] for item in all_of(items)] == ["This is a.", "This is b.", "This is c."]
    starts = set()
    for epoch in range(8):
        pixels = items[3 * epoch]["pixels"]
        assert (pixels.shape, pixels.dtype) == ((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
        first = numbers(pixels)[0]
        assert numbers(pixels) == list(range(first, first + FRAMES))
        starts.add(first)
    assert len(starts) > 3
    assert starts <= set(range(12))
    np.testing.assert_array_equal(items[4]["pixels"], open_items(Source("clips", str(clips), **SIZE))[4]["pixels"])
    other = open_items(Source("clips", str(clips), **SIZE, seed=1))
    assert any(numbers(items[number]["pixels"]) != numbers(other[number]["pixels"]) for number in range(3))


def test_the_last_frames_of_a_clip_are_taken_too(clips):
    items = open_items(Source("clips", str(clips), frames=19, height=HEIGHT, width=WIDTH))
    assert {numbers(items[number]["pixels"])[-1] for number in range(12)} == {18, 19}
    (whole,) = {tuple(numbers(open_items(Source("clips", str(clips), 20, HEIGHT, WIDTH))[0]["pixels"]))}
    assert whole == tuple(range(20))


def test_captions_in_one_file(tmp_path):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", 9)
    lines = [{"file": "b.mp4", "prompt": "B | [5s]"}, {"file": "a.mp4", "prompt": "A"}]
    captions = tmp_path / CAPTIONS_FILE
    captions.write_text("\n".join(map(json.dumps, lines)))
    source = Source("clips", str(tmp_path), **SIZE)
    assert [item["prompt"] for item in all_of(open_items(source))] == ["A", "B | [5s]"]
    for text, message in (
        ('{"file": "a.mp4", "prompt": "A"}', "1 of 2 in .* have none: b.mp4"),
        ('{"file": "x.mp4", "prompt": "A"}', r"captions\.jsonl has a caption for 'x.mp4', which is no clip"),
        ('{"file": "a.mp4"}', r"line 1 of .*captions\.jsonl is not"),
        ('{"file": "a.mp4", "prompt": "A"}\n' * 2, r"line 2 of .*captions\.jsonl: 'a.mp4' has two captions"),
        ('{"file": "a.mp4", "prompt": " "}', "'a.mp4' has an empty caption"),
    ):
        captions.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_items(source)


def test_clips_without_captions_have_only_pixels(tmp_path):
    write_clip(tmp_path / "a.mp4", 9)
    source = Source("clips", str(tmp_path), **SIZE)
    assert open_items(source)[0].keys() == {"pixels"}
    with pytest.raises(ValueError, match="a tokenizer is for prompts"):
        open_items(source, tokenizer=ByteTokenizer())
    write_clip(tmp_path / "b.mp4", 9, caption="B")
    with pytest.raises(ValueError, match=r"1 of 2 in .* have none: a\.mp4"):
        open_items(source)


def test_clips_that_cannot_be_used_are_named_at_once(tmp_path):
    source = Source("clips", str(tmp_path), **SIZE)
    with pytest.raises(FileNotFoundError, match="holds no clip"):
        open_items(source)
    short = write_clip(tmp_path / "short.mp4", 8)
    with pytest.raises(ValueError, match=r"at least 9 frames .*short\.mp4 has 8"):
        open_items(source)
    short.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"short\.mp4 cannot be read as a video"):
        open_items(source)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_items(dataclasses.replace(source, path=str(tmp_path / "nowhere")))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_items(Source("prompts", str(tmp_path / "nowhere")))


def test_shards_hold_anything_and_text_is_text(tmp_path):
    width = 4
    records = [
        {
            "latents": np.full((3, 2, 2, width), number, ml_dtypes.bfloat16),
            "embeddings": np.full((1 + number, width), 7, np.float16),
            "weights": np.float32(number),
            "prompt": text_array(f"prompt {number}"),
        }
        for number in range(4)
    ]
    fields = {
        "latents": Field("bfloat16", (3, 2, 2, width)),
        "embeddings": Field("float16", (None, width)),
        "weights": Field("float32", ()),
        "prompt": TEXT,
    }
    write_shards(tmp_path, records, fields)
    item = open_items(Source("shards", str(tmp_path), text_length=6))[2]
    np.testing.assert_array_equal(item["latents"], records[2]["latents"])
    assert item["latents"].dtype == ml_dtypes.bfloat16
    assert item["embeddings"].dtype == np.float16
    assert item["embeddings"][:, 0].tolist() == [7, 7, 7, 0, 0, 0]
    assert (item["weights"], item["prompt"]) == (2, "prompt 2")
    batch = next(batches(open_items(Source("shards", str(tmp_path), text_length=6)), batch=4, seed=0))
    assert batch["embeddings"].shape == (4, 6, width)
    with pytest.raises(ValueError, match="set text_length"):
        open_items(Source("shards", str(tmp_path)))
    with pytest.raises(ValueError, match="text_length = 3 tokens long, got 4"):
        open_items(Source("shards", str(tmp_path), text_length=3))[3]
    with pytest.raises(ValueError, match=r"for pixels, and .* has none"):
        open_items(Source("shards", str(tmp_path), text_length=6, **SIZE))


def test_shards_of_clips_give_stretches(tmp_path):
    records = [{"pixels": numbered(count)} for count in (12, 20)]
    write_shards(tmp_path, records, {"pixels": CLIPS_OF_ANY_LENGTH})
    items = open_items(Source("shards", str(tmp_path), **SIZE))
    pixels = [items[number]["pixels"] for number in range(10)]
    assert {one.shape for one in pixels} == {(FRAMES, HEIGHT, WIDTH, 3)}
    firsts = [numbers(one)[0] for one in pixels]
    assert [numbers(one) for one in pixels] == [list(range(first, first + FRAMES)) for first in firsts]
    assert len(set(firsts)) > 2
    with pytest.raises(ValueError, match="set frames, height and width"):
        open_items(Source("shards", str(tmp_path)))
    with pytest.raises(ValueError, match="has 12 frames, got frames 13"):
        open_items(Source("shards", str(tmp_path), 13, HEIGHT, WIDTH))[0]


def test_shards_of_one_size_are_checked_at_once(tmp_path):
    write_shards(tmp_path, [{"pixels": numbered(12)}], {"pixels": Field("uint8", (12, 32, 48, 3))})
    assert open_items(Source("shards", str(tmp_path)))[0]["pixels"].shape == (12, 32, 48, 3)
    with pytest.raises(ValueError, match="have 12 frames, got frames 13"):
        open_items(Source("shards", str(tmp_path), 13, HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="text_length is for embeddings"):
        open_items(Source("shards", str(tmp_path), text_length=4))


def test_prompts_in_shards_are_prompts(tmp_path):
    write_shards(tmp_path, prompt_records(4), {"prompt": TEXT})
    items = open_items(Source("shards", str(tmp_path), held_out=1), tokenizer=ByteTokenizer(12))
    assert len(items) == 3
    assert items[0].keys() == {"ids", "mask"}


def test_nature_is_endless_and_held_out_is_another():
    source = Source("nature_flow", frames=3, height=32, width=32, held_out=4, seed=5)
    train, held_out = open_items(source), open_items(source, held_out=True)
    assert (len(train), len(held_out)) == (ENDLESS, 4)
    assert train[7]["pixels"].shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(train[7]["pixels"], open_items(source)[7]["pixels"])
    pictures = [items[number]["pixels"].tobytes() for items in (train, held_out) for number in range(4)]
    assert len(set(pictures)) == 8
    batch = next(batches(open_items(source, tokenizer=ByteTokenizer(64)), batch=2, seed=0))
    assert {key: value.shape for key, value in batch.items()} == {
        "pixels": (2, 3, 32, 32, 3),
        "moving": (2, 32, 32),
        "ids": (2, 64),
        "mask": (2, 64),
    }


@pytest.mark.parametrize("frames", [1, 5])
def test_what_moves_in_a_clip_of_nature_is_known(frames):
    """In a picture too: a clip of one frame is the first frame of a longer one."""
    short, long = (
        open_items(Source("nature_flow", frames=count, height=32, width=32, seed=5)) for count in (frames, 9)
    )
    for number in range(4):
        item, more = short[number], long[number]
        assert (item["moving"].shape, item["moving"].dtype) == ((32, 32), np.bool_)
        np.testing.assert_array_equal(item["pixels"], more["pixels"][:frames])
        np.testing.assert_array_equal(item["moving"], more["moving"])
        changes = np.any(more["pixels"] != more["pixels"][:1], axis=(0, 3))
        assert changes[more["moving"]].mean() > 0.5
        assert not changes[~more["moving"]].any()


def test_prompts_of_nature_are_those_of_its_clips():
    clips = Source("nature_flow", frames=1, height=32, width=32, held_out=3, seed=5)
    prompts = Source("nature_prompts", held_out=3, seed=5)
    for held_out in (False, True):
        shown, said = open_items(clips, held_out=held_out), open_items(prompts, held_out=held_out)
        assert len(said) == len(shown)
        assert [said[number] for number in range(3)] == [{"prompt": shown[number]["prompt"]} for number in range(3)]


def test_descriptions_are_endless_and_held_out_are_others():
    source = Source("descriptions", held_out=4, seed=5)
    train, held_out = open_items(source), open_items(source, held_out=True)
    assert (len(train), len(held_out)) == (ENDLESS, 4)
    texts = [items[number]["prompt"] for items in (train, held_out) for number in range(4)]
    assert texts == [description(seed, number) for seed in (10, 11) for number in range(4)]
    assert len(set(texts)) == 8
    assert train[ENDLESS - 1]["prompt"] not in texts
    batch = next(batches(open_items(source, tokenizer=ByteTokenizer(64)), batch=2, seed=0))
    assert {key: value.shape for key, value in batch.items()} == {"ids": (2, 64), "mask": (2, 64)}


def test_sources_that_make_no_sense():
    for asked, message in (
        ({"kind": "video"}, "one of prompts, clips, shards, nature_flow, nature_prompts, descriptions, got 'video'"),
        ({"kind": "prompts"}, "has a path, got prompts with path None"),
        ({"kind": "nature_flow", "path": "x", **SIZE}, "got nature_flow with path 'x'"),
        ({"kind": "nature_prompts", **SIZE}, "prompts have no frames"),
        ({"kind": "descriptions", "path": "x"}, "got descriptions with path 'x'"),
        ({"kind": "descriptions", **SIZE}, "prompts have no frames"),
        ({"kind": "clips", "path": "x"}, "clips need frames"),
        ({"kind": "shards", "path": "x", "frames": 9}, "together or not at all"),
        ({"kind": "prompts", "path": "x", **SIZE}, "prompts have no frames"),
        ({"kind": "clips", "path": "x", **SIZE, "text_length": 4}, "which only shards hold"),
        ({"kind": "clips", "path": "x", "frames": 0, "height": 1, "width": 1}, "at least 1"),
        ({"kind": "prompts", "path": "x", "held_out": -1}, "at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Source(**asked)


def test_threads_may_share_files(clips, tmp_path):
    write_shards(tmp_path, [{"pixels": numbered(count)} for count in (20, 30, 25, 12)], {"pixels": CLIPS_OF_ANY_LENGTH})
    for source in (Source("shards", str(tmp_path), **SIZE), Source("clips", str(clips), **SIZE)):
        one, many = (batches(open_items(source), batch=2, seed=0, threads=threads) for threads in (0, 8))
        for _ in range(12):
            np.testing.assert_array_equal(next(one)["pixels"], next(many)["pixels"])
