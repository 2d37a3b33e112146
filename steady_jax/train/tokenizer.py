"""A tokenizer for small models, learnt from prompts: pieces of bytes (BPE), so that no word is unknown."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from steady_jax import checkpoint
from steady_jax.text import SETTINGS_FILE, TOKENIZER_FILE

PAD, END = "<pad>", "</s>"
BYTES = 256


def write_tokenizer(folder: str | Path, prompts: Iterable[str], vocabulary: int) -> int:
    """Learns a tokenizer and writes it as a checkpoint folder with that one part.

    Args:
        prompts: to learn from; case does not count.
        vocabulary: pieces at most; few prompts give fewer.
    Returns: the number of pieces.
    Raises:
        ValueError: the folder exists, or the vocabulary cannot hold every byte.
    """
    # imported here: only this stage uses them
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if vocabulary < BYTES + 2:
        raise ValueError(f"a vocabulary holds {BYTES} bytes and 2 marks, at least {BYTES + 2} pieces, got {vocabulary}")
    checkpoint.check_new(folder)
    pieces = Tokenizer(models.BPE())
    pieces.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, END], initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator(prompts, trainer)
    with tempfile.TemporaryDirectory() as made, checkpoint.new_folder(folder) as draft:
        pieces.save(str(Path(made) / TOKENIZER_FILE))
        (Path(made) / SETTINGS_FILE).write_text(json.dumps({"pad_token": PAD, "eos_token": END}))
        checkpoint.save_description(draft, [checkpoint.save_tokenizer(draft, Path(made), "learnt from prompts")])
    return pieces.get_vocab_size()
