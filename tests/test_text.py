import json
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from helpers_text import write_tiny_tokenizer

from steady_jax.text import ByteTokenizer, Tokenizer, clean

PROMPT = "Static camera: fog over the sea, rain and light on the wave."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(params=["files", "bytes"])
def make(request, folder):
    """Both tokenizers keep the same promises."""
    return (lambda length: Tokenizer.from_folder(folder, length)) if request.param == "files" else ByteTokenizer


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("  fog \n\n over\tthe   sea ", "fog over the sea"),
        ("waves &amp; wind", "waves & wind"),
        ("waves &amp;amp; wind", "waves & wind"),
        ("1 < 2 &amp;lt; 3", "1 < 2 < 3"),  # ftfy alone leaves entities beside a "<", which may be HTML
        ("cafÃ© by the sea", "café by the sea"),
        ("sea，fog", "sea,fog"),
        ("\u3000 \u00a0 ", ""),
    ],
)
def test_clean(prompt, cleaned):
    assert clean(prompt) == cleaned


def test_rows_end_with_one_mark_and_are_padded(make):
    tokenizer = make(100)
    ids, mask = tokenizer.encode([PROMPT, "sea"])
    assert ids.shape == mask.shape == (2, 100)
    assert ids.dtype == mask.dtype == np.int32
    for row, marks in zip(ids, mask, strict=True):
        filled = marks.sum()
        assert marks.tolist() == [1] * filled + [0] * (100 - filled)
        assert row[filled - 1] == 1
        assert 1 not in row[: filled - 1]
        assert np.all(row[:filled] > 0)
        assert np.all(row[filled:] == 0)
    assert mask[1].sum() < mask[0].sum()
    assert ids.max() < tokenizer.vocabulary


def test_prompts_are_cleaned_before_they_are_split(make):
    first, second = make(60).encode(["rain &amp;  light ", "rain & light"])[0]
    assert first.tolist() == second.tolist()


def test_a_long_prompt_is_cut_before_the_end_mark_and_the_cut_part_told(make):
    longer, (short, mask) = make(100).encode([PROMPT])[0][0], make(9).encode([PROMPT])
    assert short[0].tolist() == [*longer[:8], 1]
    assert mask.tolist() == [[1] * 9]
    lost = make(9).overflow(PROMPT)
    assert lost
    assert PROMPT.endswith(lost)
    assert make(100).overflow(PROMPT) == ""
    kept = PROMPT.removesuffix(lost)
    assert make(9).overflow(kept) == ""
    assert make(9).encode([kept])[0].tolist() == short.tolist()


@pytest.mark.parametrize("spare", [0, 1])
def test_overflow_starts_exactly_beyond_the_length(make, spare):
    tokens = int(make(100).encode(["sea fog"])[1].sum())
    assert bool(make(tokens - spare).overflow("sea fog")) == bool(spare)


def test_overflow_tells_pieces_the_vocabulary_does_not_know(make):
    lost = make(5).overflow("fog 火山 🌋🌋🌋")
    assert lost.endswith("🌋🌋🌋")


def test_empty_prompts(make):
    tokenizer = make(6)
    with pytest.raises(ValueError, match=r"of 3 prompts these are empty \(counted from 0\): \[1, 2\]"):
        tokenizer.encode(["sea", " \n ", "&nbsp;"])
    ids, mask = tokenizer.encode([""], allow_empty=True)
    assert ids.tolist() == [[1, 0, 0, 0, 0, 0]]
    assert mask.tolist() == [[1, 0, 0, 0, 0, 0]]
    assert tokenizer.overflow("") == ""


def test_one_string_is_not_a_list_of_prompts(make):
    with pytest.raises(ValueError, match=r"pass \['sea'\]"):
        make(6).encode("sea")


def test_length_has_room_for_text(make):
    with pytest.raises(ValueError, match="at least 2 tokens, one for text and one for the end mark, got 1"):
        make(1)


def test_bytes_by_hand():
    ids, mask = ByteTokenizer(6).encode(["Aé"])
    assert ids.tolist() == [[ord("A") + 3, 0xC3 + 3, 0xA9 + 3, 1, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 0, 0]]
    assert ByteTokenizer.vocabulary == 259
    assert ByteTokenizer(3).overflow("Aé") == "é"  # cut between its two bytes


@pytest.mark.parametrize("prompt", [PROMPT, "ｓｅａ ﬁre, 2½ waves", "火 on the river"])
def test_ids_are_those_of_the_file(folder, prompt):
    expected = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(clean(prompt)).ids
    ids, mask = Tokenizer.from_folder(folder, 100).encode([prompt])
    assert ids[0, : mask.sum()].tolist() == expected


def test_padding_and_cutting_stored_in_the_file_have_no_say(folder, tmp_path):
    stored = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored.enable_truncation(4)
    stored.enable_padding(length=8)
    stored.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
    ids, _ = Tokenizer.from_folder(tmp_path, 40).encode([PROMPT])
    assert ids.tolist() == Tokenizer.from_folder(folder, 40).encode([PROMPT])[0].tolist()


@pytest.mark.parametrize("vocabulary", [20, 96])
def test_tiny_tokenizer_keeps_its_promise(tmp_path, vocabulary):
    tokenizer = Tokenizer.from_folder(write_tiny_tokenizer(tmp_path / "deep" / "folder", vocabulary), 64)
    assert tokenizer.vocabulary <= vocabulary
    assert tokenizer.encode([PROMPT])[0].max() < vocabulary


def test_an_incomplete_folder_says_what_is_missing(folder, tmp_path):
    with pytest.raises(ValueError, match=r"lacks tokenizer.json and tokenizer_config.json; found: no such folder"):
        Tokenizer.from_folder(tmp_path / "nowhere")
    (tmp_path / "spiece.model").touch()
    (tmp_path / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
    with pytest.raises(ValueError, match=r"lacks tokenizer.json; found: \['spiece.model', 'tokenizer_config.json'\]"):
        Tokenizer.from_folder(tmp_path)


def test_a_damaged_file_says_which(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
    with pytest.raises(ValueError, match=r"tokenizer.json and tokenizer_config.json do not make a tokenizer"):
        Tokenizer.from_folder(tmp_path)


def test_a_tokenizer_without_marks_is_refused(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    with pytest.raises(ValueError, match=r"must name a pad_token and an eos_token .* 'eos_token': None"):
        Tokenizer.from_folder(tmp_path)


def test_needs_no_torch(folder):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from steady_jax.text import Tokenizer\n"
        f"print(Tokenizer.from_folder({str(folder)!r}, 8).encode(['sea'])[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 8)", done.stderr
