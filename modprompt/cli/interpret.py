"""The nearest words of the vocabulary to each learned text vector of a checkpoint, layer by layer.

    modprompt interpret output/run 5 --backbone RN50

It reads a run's folder, or a checkpoint of any trainer, ours and the family's. Vision prompts have no words: they are
only counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from torch import Tensor

from modprompt.checks import at_least
from modprompt.clip import known
from modprompt.clip.known import Asked
from modprompt.clip.load import load
from modprompt.clip.towers import CLIP
from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.checkpoint import Checkpoint, checkpoint_at, read
from modprompt.io.tables import Cell, write_table
from modprompt.io.text import writable
from modprompt.methods.records import learner_part
from modprompt.programs import report
from modprompt.use.nearest_words import count_mapped, count_vision_prompts, nearest_words, text_prompts, vocabulary

COLUMNS = ("layer", "class", "token", "rank", "word", "distance")  # of the CSV


def _clip_of(content: Checkpoint, path: str, asked: Asked) -> CLIP:
    """The CLIP that is asked for, or that a checkpoint names; a file that it names is never opened because of that."""
    if not asked.name and not asked.path:
        name, file, commit = (str(content.clip.get(key) or "") for key in ("name", "file", "commit"))
        if file or known.named(name).path:
            raise UserError(f"{path} was made with a CLIP from a file ({file or name}): give it with --backbone-path")
        asked = asked._replace(name=known.pinned(name, commit) or "ViT-B/16")
    try:
        clip_model = load(asked)
    except UserError as error:
        flags = f"--backbone {asked.name or 'not given'}, --backbone-path {asked.path or 'not given'}"
        raise UserError(f"{flags}: {error}") from None
    if content.made_with.get("the weights of CLIP", clip_model.fingerprint) != clip_model.fingerprint:
        raise UserError(
            f"the checkpoint was made with another CLIP than {asked.path or asked.name}: see --backbone and "
            "--backbone-path"
        )
    return clip_model


def _contexts(content: Checkpoint, layers: dict[int, Tensor]) -> Iterator[tuple[int, str, Tensor]]:
    """(layer, class or "", vectors (n, T)) of every learned text prompt; of a class with several also its phrase."""
    classes = content.record.get("classes", {})
    for layer, vectors in layers.items():
        labels = [str(label) for label in range(len(vectors))]
        if "phrases" in classes:
            phrases = descriptions.of_record(classes["phrases"], "the checkpoint").of(classes.get("names", []))
            labels = [f"{label} phrase {i}" for label, texts in enumerate(phrases) for i in range(1, 1 + len(texts))]
        yield from [(layer, "", vectors)] if vectors.dim() == 2 else zip([layer] * len(labels), labels, vectors)


def _run(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", help="a run's folder, or a file like model.pth.tar-5")
    add("topk", type=int, nargs="?", default=5, help="words per vector")
    add("--backbone", default="", help="the CLIP it was trained with (default: what the file says, else ViT-B/16)")
    add("--backbone-path", default="", help="its weights on disk")
    add("--activation", default="", help="quick_gelu or gelu, for weights on disk of which nothing else says it")
    add("--heads", type=int, nargs=2, default=(), metavar=("TEXT", "IMAGE"), help="the same for their attention heads")
    add("--csv", default="", help="also write the rows to this file")
    args = parser.parse_args(argv)
    at_least("topk", args.topk, 1)
    path = checkpoint_at(args.checkpoint)
    content = read(path)
    learned = learner_part(content.state_dict)
    layers, vision = text_prompts(learned), count_vision_prompts(learned)
    if not layers and not vision:
        raise UserError(f"{path} holds no learned prompts")
    clip_model = _clip_of(content, path, Asked(args.backbone, args.backbone_path, args.activation, tuple(args.heads)))
    if vision:
        print(f"{vision} learned vision prompts are left out: no words have the vision width")
    if count_mapped(learned):
        print(f"Text prompts from layer {count_mapped(learned)} on are mapped from vision prompts: they are left out")
    rows: list[list[Cell]] = []
    known_words = vocabulary(clip_model)
    for layer, label, vectors in _contexts(content, layers):
        for number, words in enumerate(nearest_words(vectors, *known_words, args.topk), start=1):
            where = f"layer {layer}" + (f", class {label}" if label else "") + f", token {number}"
            print(f"{where:<24} " + "  ".join(f"{word} {distance:.4f}" for word, distance in words))
            for rank, (word, distance) in enumerate(words, start=1):
                rows.append([layer, writable(label), number, rank, writable(word), f"{distance:.6f}"])
    if args.csv:
        write_table(args.csv, COLUMNS, rows)
        print(f"Written: {args.csv}")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or one of programs.report."""
    return report(_run, argv)
