"""Classify images with a trained model: a run's output folder, or a checkpoint in it.

modprompt predict output/run photo.jpg
modprompt predict output/run photos/ more/*.png --top 3 --csv out.csv
modprompt predict output/run photos/ --classes cat dog "polar bear"       other classes than the trained ones
modprompt predict output/run photos/ --classes @names.txt                 a name on each line
modprompt predict output/run photos/ --adapt tda                          also by the photos before (TDA)
modprompt predict output/run photos/ --rule sigmoid                       each class by itself (SigLIP)

--classes uses all words after it. Images that cannot be read are named and skipped; the exit code is then 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from modprompt.checks import at_least, some
from modprompt.cli.model_flags import opened, parser_of
from modprompt.data.class_names import distinct
from modprompt.errors import UserError
from modprompt.io.files import of_user, read_text
from modprompt.io.tables import Cell, write_table
from modprompt.io.text import one_line, writable

COLUMNS = ("image", "rank", "class", "probability")  # of the CSV; for another rule than softmax also its name


def _class_names(words: Sequence[str]) -> list[str]:
    """The given names: words, and for @FILE the file's lines that are not blank; UserError if they are no classes."""
    names: list[str] = []
    for word in words:
        try:
            lines = read_text(of_user(word[1:])).splitlines() if word.startswith("@") else [word]
        except FileNotFoundError:
            raise UserError(f"--classes {word}: there is no such file") from None
        names += [line.strip() for line in lines if line.strip()]
    twice = next((name for name in names if names.count(name) > 1), "") if len(set(names)) < len(names) else ""
    if twice:
        raise UserError(f"--classes: {twice!r} is there twice: remove one")
    if len(names) < 2:
        raise UserError(f"--classes: give two names or more, got {len(names)}: with one, every image belongs to it")
    return names


def _note(text: str) -> None:
    if text:
        print(f"note: {text}", file=sys.stderr)  # standard output only has the predictions


def _opened(args: Any) -> Any:
    """The model, for the classes that are asked about, with the head that adapts to the images."""
    from modprompt.use.trained import adapted

    trained = opened(args)
    if args.classes:
        names, known = _class_names(args.classes), trained.model.classes.names
        trained = trained.with_classes(names)
        new = [one_line(name) for name in names if name not in known]
        if new:
            _note(f"{len(new)} of {len(names)} classes are not those that {trained.path} was trained on: {some(new)}")
        _note(trained.model.said_of(names))
    return adapted(trained, args.adapt.upper()) if args.adapt else trained


def _run(args: Any) -> int:
    from modprompt.use.prediction import SOFTMAX, find_images, predict, require_rule

    images, left_out = find_images(args.images)
    trained = _opened(args)
    require_rule(trained.model, args.rule)
    names = distinct(trained.model.classes.names)
    if left_out:
        _note(f"{len(left_out)} files in these folders do not have names of images, e.g. {one_line(str(left_out[0]))}")
    rule = [] if args.rule == SOFTMAX else [args.rule]
    rows: list[list[Cell]] = []
    skipped = 0
    with tqdm(total=len(images), desc="predicting", unit="image", disable=None) as bar:
        for prediction in predict(trained, images, args.top, args.batch_size, args.rule):
            image, shares = writable(str(prediction.image)), []
            for rank, (label, share) in enumerate(zip(prediction.labels, prediction.probabilities), start=1):
                shares.append(f"{one_line(names[label])} {100 * share:.1f}%")
                rows.append([image, rank, writable(names[label]), f"{share:.6f}", *rule])
            if prediction.fault:
                skipped += 1
                bar.write(f"skipped: {one_line(writable(prediction.fault))}", file=sys.stderr)
            else:
                bar.write(f"{one_line(image)}: {', '.join(shares)}", file=sys.stdout)
            bar.update()
    if args.csv:
        try:
            write_table(of_user(args.csv), (*COLUMNS, *(["rule"] if rule else [])), rows)
        except OSError as error:
            raise UserError(f"--csv: cannot write {args.csv} ({error.strerror})") from None
        _note(f"written: {args.csv}")
    if skipped:
        _note(f"{skipped} of {len(images)} images were skipped")
    return 1 if skipped else 0


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 if all images were classified, 1 if some could not be read; UserError if the rest cannot be."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE|FOLDER", help="image files, and folders of them")
    add("--classes", nargs="+", default=[], metavar="NAME", help="other class names; @FILE has a name on each line")
    add("--top", type=int, default=5, help="how many classes to print for each image (default: %(default)s)")
    add("--csv", default="", metavar="F", help="also write the predictions to this file")
    rule = "shares among the classes, or each class by itself, by the CLIP's logit bias (default: %(default)s)"
    add("--rule", choices=["softmax", "sigmoid"], default="softmax", help=rule)
    add("--adapt", choices=["tda"], default="", help="adapt to the images, in their order, by a head that keeps some")
    add("--batch-size", type=int, default=64, help="images at a time (default: %(default)s)")
    args = parser.parse_args(argv)
    at_least("--top", args.top, 1)
    at_least("--batch-size", args.batch_size, 1)
    if args.csv and of_user(args.csv).is_dir():
        raise UserError(f"--csv: {args.csv} is a folder: name a file")
    return _run(args)
