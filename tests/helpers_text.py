"""A tokenizer folder made on the spot: small, real files, no download."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
WORDS = ("sea", "fog", "rain", "snow", "fire", "wave", "river", "light", "static", "camera", "the", "on", "over", "and")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-()"


def write_tiny_tokenizer(folder: Path, vocabulary: int = 96) -> Path:
    """Writes tokenizer.json and tokenizer_config.json in the manner of umT5's and returns the folder.

    Ids are below `vocabulary`: <pad> 0, </s> 1, <unk> 2, then single letters and, as far as there is room, whole words.
    """
    scored = [(PAD, 0.0), (END, 0.0), (UNKNOWN, -20.0), ("▁", -4.0)]
    scored += [(letter, -5.0) for letter in LETTERS] + [(f"▁{word}", -3.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram(scored[:vocabulary], unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    tokenizer.add_special_tokens([PAD, END, UNKNOWN])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "T5Tokenizer", "pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
