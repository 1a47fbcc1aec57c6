"""Classify images with a trained model, which is the output folder of a run or a checkpoint.

modprompt predict output/run photo.jpg
modprompt predict output/run photos/ more/*.png --top 3 --csv out.csv
modprompt predict output/run photos/ --classes cat dog "polar bear"       classify into other classes
modprompt predict output/run photos/ --classes @names.txt                 read one class name per line of names.txt
modprompt predict output/run photos/ --adapt tda                          adapt to the images during the test (TDA)
modprompt predict output/run photos/ --rule sigmoid                       score each class on its own (SigLIP)
modprompt predict output/run photos/ --unknown 0.5                        report "not known" below 50%
modprompt predict output/run photos/ --unknown auto                       use a threshold from the validation images

--classes takes all arguments that follow, so put the images first. Images that cannot be read are listed and skipped;
the exit code is then 1.
"""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from modprompt.checks import at_least, counted, some
from modprompt.cli.model_flags import opened, parser_of
from modprompt.data.class_names import distinct, of_words
from modprompt.errors import UserError
from modprompt.io.files import of_user
from modprompt.io.tables import Cell, require_replaceable, write_table
from modprompt.io.text import one_line, writable

AUTO = "auto"  # the threshold that the run recorded
COLUMNS = ("image", "rank", "class", "probability")  # of the CSV, always


def _note(text: str) -> None:
    if text:
        print(f"note: {text}", file=sys.stderr)  # standard output only has the predictions


def _probability(text: str) -> float:
    """Return the probability that --unknown gives; raise UserError for any other text."""
    try:
        number = float(text)
    except ValueError:
        raise UserError(f"--unknown {text!r} is not a number. Use a probability from 0 to 1, or {AUTO}.") from None
    if not 0 <= number <= 1:
        raise UserError(f"--unknown must be a probability from 0 to 1, got {number:g}.")
    return number


def _opened(args: Any) -> Any:
    """The model, for the classes that are asked about, with the head that adapts to the images."""
    from modprompt.methods.heads.method import unread
    from modprompt.use.trained import adapted

    trained = opened(args)
    if args.classes:
        names, known = of_words(args.classes), trained.model.classes.names
        trained = trained.with_classes(names)
        new = [one_line(name) for name in names if name not in known]
        if new:
            _note(f"{trained.path} was not trained on {len(new)} of the {len(names)} classes: {some(new)}.")
        _note(trained.model.said_of(names))
    if args.adapt:
        trained = adapted(trained, args.adapt.upper())
        _note(unread(trained.model.prompt_learner))
    return trained


def _run(args: Any) -> int:
    from modprompt.use.prediction import SOFTMAX, find_images, predict, require_rule
    from modprompt.use.trained import recorded_threshold

    images, left_out = find_images(args.images)
    trained = _opened(args)
    require_rule(trained.model, args.rule)
    names = distinct(trained.model.classes.names)
    threshold = args.unknown
    if threshold == AUTO:
        threshold, known = recorded_threshold(trained)
        _note(
            f"images whose highest probability is below {100 * threshold:.2f}% are reported as not known. The "
            f"threshold keeps 95% of the {known} held-out validation images of the run. Images of unknown classes "
            "often score higher."
        )
    if left_out:
        what = f"{counted(len(left_out), 'file')} {'is' if len(left_out) == 1 else 'are'}"
        example = one_line(str(left_out[0]))
        _note(f"{what} ignored because of a file name without an image extension, for example {example}.")
    more = [*(["rule"] if args.rule != SOFTMAX else []), *(["known"] if args.unknown else [])]
    rows: list[list[Cell]] = []
    skipped = 0
    with tqdm(total=len(images), desc="Classifying", unit="image", disable=None) as bar:
        for prediction in predict(trained, images, args.top, args.batch_size, args.rule):
            image, shares = writable(str(prediction.image)), []
            likely = list(zip((names[label] for label in prediction.labels), prediction.probabilities))
            found = [(name, share) for name, share in likely if share >= threshold]
            said = {"rule": args.rule, "known": str(bool(found))}
            for rank, (name, share) in enumerate(found or likely[:1], start=1):
                shares.append(f"{one_line(name) if found else 'not known, at most'} {100 * share:.1f}%")
                name = writable(name) if found else ""
                rows.append([image, rank, name, f"{share:.6f}", *(said[one] for one in more)])
            if prediction.fault:
                skipped += 1
                bar.write(f"skipped: {one_line(writable(prediction.fault))}", file=sys.stderr)
            else:
                bar.write(f"{one_line(image)}: {', '.join(shares)}", file=sys.stdout)
            bar.update()
    if args.csv:
        try:
            write_table(of_user(args.csv), (*COLUMNS, *more), rows)
        except OSError as error:
            raise UserError(f"--csv: cannot write the file {args.csv} ({error.strerror}).") from None
        _note(f"the predictions were written to {args.csv}.")
    if skipped:
        _note(f"{skipped} of {len(images)} images could not be read and were skipped.")
    return 1 if skipped else 0


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 if all images were classified, 1 if some could not be read; UserError if the rest cannot be."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE|FOLDER", help="image files, or folders of images")
    add(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="class names to use instead of the trained ones; @FILE reads one name per line",
    )
    add("--top", type=int, default=5, help="number of classes to print for each image (default: %(default)s)")
    add("--csv", default="", metavar="F", help="also write the predictions to this CSV file (default: none)")
    rule = "softmax: probabilities that sum to 1 over the classes; sigmoid: an independent probability for each class, "
    rule += "which needs a CLIP with a logit bias (default: %(default)s)"
    add("--rule", choices=["softmax", "sigmoid"], default="softmax", help=rule)
    unknown = (
        "omit classes with a probability below P, and report an image as not known if no class remains (default: "
        "%(default)s, which omits no class). Images of classes that the model does not know often have a higher "
        "probability than P. auto: the threshold that keeps 95%% of the held-out validation images of the run"
    )
    add("--unknown", default="0", metavar="P|auto", help=unknown)
    add(
        "--adapt",
        choices=["tda"],
        default="",
        help="adapt to the images in their order with a test-time head (TDA), which caches image features",
    )
    add("--batch-size", type=int, default=64, help="number of images per batch (default: %(default)s)")
    args = parser.parse_args(argv)
    at_least("--top", args.top, 1)
    at_least("--batch-size", args.batch_size, 1)
    others = {"--classes": args.classes, "--adapt": args.adapt, "--rule sigmoid": args.rule != "softmax"}
    flags = [flag for flag, is_given in others.items() if is_given]
    if args.unknown == AUTO and flags:
        raise UserError(
            f"--unknown {AUTO} cannot be combined with {flags[0]}, because {flags[0]} changes the probabilities, so "
            f"the threshold of the run is no longer valid. Remove {flags[0]}, or use a probability such as --unknown "
            "0.5."
        )
    args.unknown = AUTO if args.unknown == AUTO else _probability(args.unknown)
    if args.csv and of_user(args.csv).is_dir():
        raise UserError(f"--csv: {args.csv} is a folder, not a file. Use the path of a file.")
    if args.csv:
        require_replaceable(of_user(args.csv), COLUMNS, "--csv")
    return _run(args)
