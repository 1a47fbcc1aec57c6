"""Print the words of the vocabulary that are nearest to each learned text vector of a checkpoint, layer by layer.

    modprompt interpret output/run 5
    modprompt interpret model.pth.tar-5 --clip RN50      read a checkpoint of CoOp or a similar codebase, which does not
                                                         record the name of its CLIP

Vision prompts have no nearest words, so the command prints only the number of vision prompts.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from modprompt.checks import at_least, counted
from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.checkpoint import Checkpoint, checkpoint_at, read, run_or_file
from modprompt.io.tables import Cell, require_replaceable, write_table
from modprompt.io.text import writable
from modprompt.methods.loading import clip_of
from modprompt.methods.records import learner_part
from modprompt.programs import Parser, report
from modprompt.use.nearest_words import count_mapped, count_vision_prompts, nearest_words, text_prompts, vocabulary
from modprompt.use.trained import recorded_clip

COLUMNS = ("layer", "class", "token", "rank", "word", "distance")  # of the CSV


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
    parser = Parser(__doc__)
    add = parser.add_argument
    add("checkpoint", help="output folder of a run, or a file like model.pth.tar-5")
    add("topk", type=int, nargs="?", default=5, help="number of words per vector (default: %(default)s)")
    what = "name or path of the CLIP (default: the CLIP that the checkpoint or the run records, else ViT-B/16)"
    add("--clip", "--backbone", "--backbone-path", dest="clip", default="", help=what)
    add("--csv", default="", help="also write the words to this CSV file (default: none)")
    args = parser.parse_args(argv)
    at_least("topk", args.topk, 1)
    if args.csv:
        require_replaceable(args.csv, COLUMNS, "--csv")
    place = run_or_file(args.checkpoint)
    path = checkpoint_at(place)
    content = read(path)
    learned = learner_part(content.state_dict)
    layers, vision = text_prompts(learned), count_vision_prompts(learned)
    if not layers and not vision:
        raise UserError(
            f"The checkpoint {path} contains no learned prompts. Use a checkpoint of a method that learns prompts."
        )
    clip = args.clip or recorded_clip(place) or (None if content.record else "ViT-B/16")
    known_words = vocabulary(clip_of(content, clip, "cpu", path))
    if vision:
        what = f"{counted(vision, 'learned vision prompt')} {'is' if vision == 1 else 'are'}"
        print(f"{what} not shown, because vision prompts cannot be compared with words.")
    if count_mapped(learned):
        print(
            f"The text prompts from layer {count_mapped(learned)} on are not shown, because they are computed from "
            "vision prompts."
        )
    rows: list[list[Cell]] = []
    for layer, label, vectors in _contexts(content, layers):
        for number, words in enumerate(nearest_words(vectors, *known_words, args.topk), start=1):
            where = f"layer {layer}" + (f", class {label}" if label else "") + f", token {number}"
            print(f"{where:<24} " + "  ".join(f"{word} {distance:.4f}" for word, distance in words))
            for rank, (word, distance) in enumerate(words, start=1):
                rows.append([layer, writable(label), number, rank, writable(word), f"{distance:.6f}"])
    if args.csv:
        write_table(args.csv, COLUMNS, rows)
        print(f"The words were written to {args.csv}.")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or one of programs.report."""
    return report(_run, argv)
