import os
import shutil

import pytest
from helpers_data import numbers, write_clip

from steady_jax.data.prepare import Cut, Entry, clips_in, clips_listed, write_clips, write_prompts
from steady_jax.data.records import Shards, text_of

CUT = Cut(frames=9, height=16, width=16)


class Local:
    """Local files, and a list of what was copied."""

    def __init__(self):
        self.copied = []

    def read(self, name):
        with open(name, "rb") as file:
            return file.read()

    def copy(self, name, to):
        self.copied.append(os.path.basename(name))
        shutil.copyfile(name, to)

    def names_in(self, folder):
        return os.listdir(folder)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b", "c"):
        write_clip(folder / f"{name}.mp4", 20, caption=f"This is {name}.")
    return folder


def shown(folder):
    """The frames and the prompt of every record."""
    return [(numbers(record["pixels"]), text_of(record["prompt"])) for record in Shards(folder)]


def test_a_folder_of_clips_becomes_shards(clips, tmp_path):
    said = []
    entries = clips_in(f"{clips}/", Local())
    assert entries[1] == Entry(f"{clips}/b.mp4", "This is b.")
    assert write_clips(entries, Local(), CUT, tmp_path / "shards", 2, say=said.append)
    assert shown(tmp_path / "shards") == [(list(range(9)), f"This is {name}.") for name in "abc"]
    assert Shards(tmp_path / "shards")[0]["pixels"].shape == (9, 16, 16, 3)
    assert said[0] == "wrote records-00000-of-00002.array_record (1 of 2)"
    assert said[-1].endswith("shards holds 3 records in 2 shards")


def test_pieces_spread_from_the_beginning_to_the_end(clips, tmp_path):
    cut, files = Cut(9, 16, 16, pieces=3), Local()
    write_clips(clips_in(str(clips), files), files, cut, tmp_path / "shards", 6)
    firsts = [(frames[0], prompt) for frames, prompt in shown(tmp_path / "shards")]
    assert firsts == [(first, f"This is {name}.") for name in "abc" for first in (0, 6, 11)]
    assert files.copied == ["a.mp4", "b.mp4", "c.mp4"]  # each once


def test_an_interrupted_run_reads_only_what_is_missing(clips, tmp_path):
    class Fails(Local):
        def copy(self, name, to):
            if name.endswith("c.mp4"):
                raise OSError("the network is gone")
            super().copy(name, to)

    entries = clips_in(str(clips), Local())
    with pytest.raises(OSError, match="the network is gone"):
        write_clips(entries, Fails(), CUT, tmp_path / "shards", 1)
    files = Local()
    assert write_clips(entries, files, CUT, tmp_path / "shards", 1)
    assert files.copied == ["c.mp4"]
    assert len(shown(tmp_path / "shards")) == 3
    with pytest.raises(ValueError, match=r"settings\.pieces was 1 and is 2"):
        write_clips(entries, files, Cut(9, 16, 16, 2), tmp_path / "shards", 1)
    with pytest.raises(ValueError, match=r"settings\.clips was"):
        write_clips(entries[::-1], files, CUT, tmp_path / "shards", 1)


def test_two_parts_make_one_folder(clips, tmp_path):
    entries = clips_in(str(clips), Local())
    assert not write_clips(entries, Local(), CUT, tmp_path / "shards", 1, (0, 2))
    assert write_clips(entries, Local(), CUT, tmp_path / "shards", 1, (1, 2))
    assert [prompt for _, prompt in shown(tmp_path / "shards")] == ["This is a.", "This is b.", "This is c."]


def test_all_clips_that_cannot_be_used_are_named(clips, tmp_path):
    (clips / "a.mp4").write_bytes(b"no video")
    write_clip(clips / "b.mp4", 8)
    entries = [*clips_in(str(clips), Local()), Entry(f"{clips}/gone.mp4", "Gone.")]
    cut = Cut(9, 16, 16, 2)
    with pytest.raises(ValueError, match="3 clips cannot be used") as raised:
        write_clips(entries, Local(), cut, tmp_path / "shards", 1)
    for reason in ("/a.mp4 cannot be read as a video", "/b.mp4 has 8", "gone.mp4"):
        assert str(raised.value).count(reason) == 1
    there = sorted(file.name for file in (tmp_path / "shards").glob("records*"))
    assert there == ["records-00004-of-00008.array_record", "records-00005-of-00008.array_record"]  # of c
    for name in ("a", "b", "gone"):
        write_clip(clips / f"{name}.mp4", 9)
    files = Local()
    assert write_clips(entries, files, cut, tmp_path / "shards", 1)
    assert set(files.copied) == {"a.mp4", "b.mp4", "gone.mp4"}


def test_a_manifest_names_clips(clips):
    manifest = clips / "list.tsv"
    manifest.write_text("a.mp4\tThis is\ta\n\n/far/b.mp4\tB\ns3://bucket/c.mp4\tC\n")
    assert clips_listed(str(manifest), Local()) == [
        Entry(f"{clips}/a.mp4", "This is\ta"),
        Entry("/far/b.mp4", "B"),
        Entry("s3://bucket/c.mp4", "C"),
    ]
    manifest.write_text("a.mp4\nb.mp4")
    assert [entry.prompt for entry in clips_listed(str(manifest), Local())] == [None, None]
    for text, message in (
        ("a.mp4\tA\nb.mp4", r"1 of 2 in .*list\.tsv have none: .*b\.mp4"),
        ("a.mp4\na.mp4", "names .*/a.mp4 twice"),
        ("\n", "without any text"),
    ):
        manifest.write_text(text)
        with pytest.raises(ValueError, match=message):
            clips_listed(str(manifest), Local())


def test_clips_without_captions_have_only_pixels(clips, tmp_path):
    write_clips([Entry(f"{clips}/a.mp4", None)], Local(), CUT, tmp_path / "shards", 1)
    assert Shards(tmp_path / "shards")[0].keys() == {"pixels"}


def test_prompts_become_shards(tmp_path):
    prompts = ["Waves", "Höhle", "雨"]
    assert write_prompts(prompts, tmp_path / "shards", 2)
    assert [text_of(record["prompt"]) for record in Shards(tmp_path / "shards")] == prompts
    with pytest.raises(ValueError, match=r"settings\.prompts was"):
        write_prompts([*prompts[:2], "Rain"], tmp_path / "shards", 2)


def test_cuts_that_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        Cut(9, 16, 16, 0)
