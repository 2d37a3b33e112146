"""Prompts to token ids: clean the text, cut it into pieces, end it with one mark and pad it to a fixed length."""

import dataclasses
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ftfy
import numpy as np
from jaxtyping import Int

TEXT_LENGTH = 512  # tokens, of every released Wan2.1 model
TOKENIZER_FILE, SETTINGS_FILE = "tokenizer.json", "tokenizer_config.json"

TokenRows = tuple[Int[np.ndarray, "b t"], Int[np.ndarray, "b t"]]


@runtime_checkable
class PromptTokenizer(Protocol):
    """What the pipeline needs of a tokenizer. Prompts are cleaned inside."""

    @property
    def length(self) -> int:
        """Tokens of every row, the end mark included."""
        ...

    @property
    def vocabulary(self) -> int:
        """Ids are below this number; the text encoder needs at least as many rows."""
        ...

    def encode(self, prompts: Sequence[str], *, allow_empty: bool = False) -> TokenRows:
        """Ids and masks [prompts, length] int32; the mask is 1 at tokens, the end mark included, and 0 at padding.

        A prompt that is too long is cut so that the end mark still fits: ask `overflow` what is lost.

        Raises:
            ValueError: a prompt is empty after cleaning. With `allow_empty` it is only an end mark, as an
                unconditional embedding needs it.
        """
        ...

    def overflow(self, prompt: str) -> str:
        """The end of the cleaned prompt that `encode` cuts off; "" if everything fits."""
        ...


def clean(prompt: str) -> str:
    """Repairs broken unicode, resolves HTML entities (twice: "&amp;amp;"), makes each run of white space one space."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip()


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of a checkpoint, as its tokenizer.json describes it."""

    pieces: Any  # transformers.PreTrainedTokenizerFast
    length: int = TEXT_LENGTH

    def __post_init__(self) -> None:
        _check_length(self.length)

    @classmethod
    def from_folder(cls, path: str | Path, length: int = TEXT_LENGTH) -> "Tokenizer":
        """Reads a folder such as `google/umt5-xxl` of a Wan2.1 checkpoint (`tokenizer` in the diffusers layout).

        Raises:
            ValueError: the folder lacks a file, a file cannot be read, or the tokenizer has no padding or end mark.
        """
        _check_folder(Path(path))
        # imported here: it takes seconds, and a run with `ByteTokenizer` has no use for it
        from transformers import PreTrainedTokenizerFast

        # not AutoTokenizer: for T5 classes transformers 5 takes only the vocabulary from tokenizer.json and builds the
        # rest anew, which changes ids (no normalisation, no byte fallback, another unknown mark)
        try:
            pieces = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
        except Exception as error:  # the tokenizers library raises bare Exception on a damaged file
            raise ValueError(
                f"{path}: {TOKENIZER_FILE} and {SETTINGS_FILE} do not make a tokenizer: {error}"
            ) from error
        marks = {"pad_token": pieces.pad_token_id, "eos_token": pieces.eos_token_id}
        if None in marks.values():
            raise ValueError(
                f"{path}/{SETTINGS_FILE} must name a pad_token and an eos_token of the vocabulary, got {marks}"
            )
        return cls(pieces, length)

    @property
    def vocabulary(self) -> int:
        return 1 + max(self.pieces.get_vocab().values())

    def encode(self, prompts: Sequence[str], *, allow_empty: bool = False) -> TokenRows:
        rows = [self._split(prompt)["input_ids"] for prompt in _cleaned(prompts, allow_empty)]
        return _padded(rows, self.length, pad=self.pieces.pad_token_id, end=self.pieces.eos_token_id)

    def overflow(self, prompt: str) -> str:
        text = clean(prompt)
        cut = self._split(text)["offset_mapping"][self.length - 1 :]
        return text[cut[0][0] :].strip() if cut else ""

    def _split(self, text: str) -> Any:
        # the end mark is ours to add, after the cut
        return self.pieces(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)


@dataclasses.dataclass(frozen=True)
class ByteTokenizer:
    """Tokens are the bytes of UTF-8. Needs no files: for tests, and for tiny networks with random weights."""

    length: int = TEXT_LENGTH

    pad = 0
    end = 1
    first_byte = 3  # 2 is the unknown mark of T5 vocabularies, which bytes never need
    vocabulary = 256 + first_byte

    def __post_init__(self) -> None:
        _check_length(self.length)

    def encode(self, prompts: Sequence[str], *, allow_empty: bool = False) -> TokenRows:
        rows = [[byte + self.first_byte for byte in text.encode()] for text in _cleaned(prompts, allow_empty)]
        return _padded(rows, self.length, pad=self.pad, end=self.end)

    def overflow(self, prompt: str) -> str:
        # a character whose bytes are cut in two is lost as a whole
        text = clean(prompt)
        kept = text.encode()[: self.length - 1].decode(errors="ignore")
        return text[len(kept) :].strip()


def _cleaned(prompts: Sequence[str], allow_empty: bool) -> list[str]:
    if isinstance(prompts, str):
        raise ValueError(f"encode takes a list of prompts, got one string; pass [{prompts!r}]")
    texts = [clean(prompt) for prompt in prompts]
    empty = [index for index, text in enumerate(texts) if not text]
    if empty and not allow_empty:
        raise ValueError(
            f"a prompt must hold text, but of {len(texts)} prompts these are empty (counted from 0): {empty}"
        )
    return texts


def _padded(rows: Sequence[Sequence[int]], length: int, *, pad: int, end: int) -> TokenRows:
    """Cuts each row to length - 1, ends it with `end` and fills it up with `pad`."""
    ids, mask = np.full((len(rows), length), pad, np.int32), np.zeros((len(rows), length), np.int32)
    for index, row in enumerate(rows):
        kept = [*row[: length - 1], end]
        ids[index, : len(kept)], mask[index, : len(kept)] = kept, 1
    return ids, mask


def _check_length(length: int) -> None:
    if length < 2:
        raise ValueError(f"length must be at least 2 tokens, one for text and one for the end mark, got {length}")


def _check_folder(folder: Path) -> None:
    missing = [name for name in (TOKENIZER_FILE, SETTINGS_FILE) if not (folder / name).is_file()]
    if missing:
        found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else "no such folder"
        raise ValueError(
            f"a tokenizer folder holds {TOKENIZER_FILE} and {SETTINGS_FILE}, as google/umt5-xxl in a Wan2.1 checkpoint "
            f"(spiece.model alone is not enough); {folder} lacks {' and '.join(missing)}; found: {found}"
        )
