"""The nearest words of the vocabulary to each learned text vector of a checkpoint, layer by layer.

    modprompt interpret output/run 5 --backbone RN50

It reads a run's folder, or a checkpoint of any trainer, ours and the family's. Vision prompts have no words: they are
only counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from modprompt.checks import at_least
from modprompt.clip import known
from modprompt.clip.known import Asked
from modprompt.clip.load import load
from modprompt.clip.towers import CLIP, token_table, tokenizer_of
from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.checkpoint import Checkpoint, checkpoint_at, read
from modprompt.io.tables import Cell, write_table
from modprompt.io.text import writable
from modprompt.methods.records import learner_part
from modprompt.programs import report
from modprompt.use.nearest_words import (
    Word,
    count_mapped,
    count_vision_prompts,
    nearest_words,
    text_prompts,
    vocabulary,
)

Row = tuple[int, int | str, int, list[Word]]  # layer, class (or ""), number of the token from 1, nearest words

COLUMNS = ("layer", "class", "token", "rank", "word", "distance")  # of the CSV


def _labels(content: Checkpoint, count: int) -> list[int | str]:
    """Labels of `count` contexts: classes from 0; with several prompts for each class also their phrases from 1."""
    classes = content.record.get("classes", {})
    if "phrases" not in classes:
        return list(range(count))
    own = descriptions.of_record(classes["phrases"], "the checkpoint").of(classes.get("names", []))
    return [f"{number} phrase {place}" for number, there in enumerate(own) for place in range(1, 1 + len(there))]


def _contexts(content: Checkpoint, layers: Mapping[int, Tensor]) -> Iterator[tuple[int, int | str, Tensor]]:
    """(layer, class or "", vectors (n, T)) of every learned text prompt."""
    for layer, vectors in layers.items():
        if vectors.dim() == 2:
            yield layer, "", vectors
        else:
            yield from ((layer, label, one) for label, one in zip(_labels(content, len(vectors)), vectors))


def _stated_name(content: Checkpoint, path: str) -> str:
    """The CLIP that a checkpoint names; a file that it names is never opened because of that.

    Raises:
        UserError: if it names a file.
    """
    name, file, commit = (str(content.clip.get(key) or "") for key in ("name", "file", "commit"))
    if file or known.named(name).path:
        raise UserError(f"{path} was made with a CLIP from a file ({file or name}): give it with --backbone-path")
    return known.pinned(name, commit) or "ViT-B/16"


def _require_same_clip(content: Checkpoint, clip_model: CLIP, name: str, path: str) -> None:
    if content.made_with.get("the weights of CLIP", clip_model.fingerprint) != clip_model.fingerprint:
        raise UserError(f"the checkpoint was made with another CLIP than {name}: see --backbone and --backbone-path")


def interpret(path: str, count: int, asked: Asked) -> list[Row]:
    """Rows of layer, class (or ""), number of the token from 1, nearest words; by default with the CLIP that it names.

    Raises:
        UserError: if the file is not a checkpoint of a prompt learner, or belongs to another CLIP.
    """
    path = checkpoint_at(path)
    content = read(path)
    learned = learner_part(content.state_dict)
    layers, vision = text_prompts(learned), count_vision_prompts(learned)
    if not layers and not vision:
        raise UserError(f"{path} holds no learned prompts")
    if not asked.name and not asked.path:
        asked = asked._replace(name=_stated_name(content, path))
    try:
        clip_model = load(asked)
    except UserError as error:
        raise UserError(
            f"--backbone {asked.name or 'not given'}, --backbone-path {asked.path or 'not given'}: {error}"
        ) from None
    _require_same_clip(content, clip_model, asked.path or asked.name, path)
    if vision:
        print(f"{vision} learned vision prompts are left out: no words have the vision width")
    if count_mapped(learned):
        print(f"Text prompts from layer {count_mapped(learned)} on are mapped from vision prompts: they are left out")
    if not layers:
        return []
    texts, embeddings = vocabulary(token_table(clip_model).weight.detach(), tokenizer_of(clip_model))
    rows: list[Row] = []
    for layer, label, vectors in _contexts(content, layers):
        for number, words in enumerate(nearest_words(vectors, texts, embeddings, count), start=1):
            rows.append((layer, label, number, words))
    return rows


def table(rows: Iterable[Row]) -> str:
    """The rows as text."""
    lines = []
    for layer, label, number, words in rows:
        where = f"layer {layer}" + (f", class {label}" if label != "" else "") + f", token {number}"
        lines.append(f"{where:<24} " + "  ".join(f"{word.text} {word.distance:.4f}" for word in words))
    return "\n".join(lines)


def csv_rows(rows: Iterable[Row]) -> Iterable[list[Cell]]:
    """The rows as cells of a CSV, a line for each word."""
    for layer, label, number, words in rows:
        for rank, word in enumerate(words, start=1):
            yield [layer, writable(str(label)), number, rank, writable(word.text), f"{word.distance:.6f}"]


def run(argv: list[str] | None = None) -> None:
    """Print the words, and write them as CSV if asked for."""
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
    asked = Asked(args.backbone, args.backbone_path, args.activation, tuple(args.heads))
    rows = interpret(args.checkpoint, args.topk, asked)
    if rows:
        print(table(rows))
    if args.csv:
        write_table(args.csv, COLUMNS, csv_rows(rows))
        print(f"Written: {args.csv}")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or one of programs.report."""
    return report(run, argv)
