"""Small tokenizers of each kind, as files in a folder; no real one is at hand without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXTS = ["a photo of a cat", "a photo of a dog", "annual crop land", "golden retriever . , !"] * 3
SPECIALS: dict[
    str, tuple[str, str, dict[str, Any]]
] = {  # by kind: special tokens from id 0 on, what stands around a text, and the settings
    "siglip": ("<pad> </s> <unk>", "$A </s>", {"tokenizer_class": "T5Tokenizer", "pad_token": "</s>", "extra_ids": 0}),
    "gemma": (
        "<pad> <eos> <bos> <unk>",
        "$A <eos>",
        {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True, "padding_side": "right"},
    ),
    "bert": ("[PAD] [UNK] [CLS] [SEP] [MASK]", "[CLS] $A [SEP]", {"tokenizer_class": "BertTokenizer"}),
    "roberta": ("<s> <pad> </s> <unk> <mask>", "<s> $A </s>", {"tokenizer_class": "RobertaTokenizer"}),
    "xlmr": ("<s> <pad> </s> <unk>", "<s> $A </s>", {"tokenizer_class": "XLMRobertaTokenizer"}),
    "nllb": (
        "<s> <pad> </s> <unk> eng_Latn",
        "eng_Latn $A </s>",
        {"tokenizer_class": "NllbTokenizer", "src_lang": "eng_Latn"},
    ),
}
_NAMES = {"<pad>": "pad", "</s>": "eos", "<eos>": "eos", "<unk>": "unk", "<s>": "bos", "<bos>": "bos", "[PAD]": "pad",
          "[UNK]": "unk", "[CLS]": "cls", "[SEP]": "sep", "[MASK]": "mask", "<mask>": "mask"}  # fmt: skip


def write(folder: Path, kind: str, **settings: Any) -> Path:
    """Write a tokenizer of some hundred words into a folder, which may be there already; the folder."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    words, template, told = SPECIALS[kind]
    specials = words.split()
    trainer: Any
    unknown = next(one for one in specials if "unk" in one.lower())
    if kind == "bert":
        made = Tokenizer(models.WordPiece(unk_token=unknown))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
    elif kind == "roberta":
        made = Tokenizer(models.BPE(unk_token=unknown))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        letters = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=specials, initial_alphabet=letters, show_progress=False
        )
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=specials, unk_token=unknown, show_progress=False
        )
    made.train_from_iterator(TEXTS, trainer)
    around = [(one, specials.index(one)) for one in template.split() if one != "$A"]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=around)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    named = {f"{_NAMES[one]}_token": one for one in specials if one in _NAMES}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, **told, **settings}))
    return folder
