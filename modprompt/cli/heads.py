"""Train, test and compare heads on precomputed image features, in the format of the original Tip-Adapter code.

modprompt heads --features caches/eurosat --classes clip_weights.pt --backbone ViT-B/32 --head TipAdapter LPPlusPlus
modprompt heads --features caches/eurosat --backbone ViT-B/32 --head ADAPTER
    --set TRAINER.ADAPTER.INIT to RANDOM TRAINER.ADAPTER.CONSTRAINT none       run without class features

FOLDER contains test_f.pt and test_l.pt, keys_16shots.pt and values_16shots.pt, and optionally val_f.pt and val_l.pt.
Alpha and beta are selected on min(shots, 4) validation images per class. With --split val, alpha and beta are selected
on one half of the validation images of each class, and the heads are tested on the other half. Each head uses its
settings of protocol base2new for the CLIP, or the settings for ViT-B/16 if there are no settings for the CLIP.
"""

from __future__ import annotations

from pathlib import Path

from modprompt.errors import UserError
from modprompt.io.files import of_user
from modprompt.io.settings import pairs
from modprompt.programs import Parser


def main(argv: list[str] | None = None) -> int:
    """Print the table and write it; exit code 0. UserError if files or settings do not fit each other."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--features", required=True, metavar="FOLDER", help="folder with the image features")
    add(
        "--classes",
        default="",
        metavar="FILE",
        help="class features, or a pickled head; not needed for heads without text",
    )
    what = "name or path of the CLIP of the image features, then of the CLIP of the class features if that CLIP differs"
    add("--backbone", required=True, nargs="+", metavar="NAME", help=what)
    add("--split", default="test", choices=["test", "val"], help="images to test (default: %(default)s)")
    add(
        "--head",
        nargs="+",
        default=[],
        metavar="NAME",
        help="heads to train: TipAdapter, LPPlusPlus, ... (default: only zero-shot)",
    )
    add(
        "--shots",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="numbers of images per class (default: all numbers in FOLDER)",
    )
    add("--seed", type=int, default=1, help="random seed (default: %(default)s)")
    add(
        "--base-new",
        action="store_true",
        help="train on the first half of the classes, test both halves, and report OOD detection",
    )
    add("--trained-keys", action="store_true", help="use the trained keys in best_F_*shots.pt for TipAdapterF")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY VALUE",
        help="settings of the heads, for example TRAINER.TIPADAPTER.INIT_BETA 5.5 OPTIM.LR 1",
    )
    add(
        "--out",
        default="",
        metavar="FOLDER",
        help="output folder of heads.csv and heads.png (default: output/heads/FOLDER)",
    )
    args = parser.parse_args(argv)
    options = pairs(args.set)
    if len(args.backbone) > 2:
        raise UserError(
            "--backbone accepts at most two names: the CLIP model of the image features and the CLIP model of the "
            "class features. Remove the other names."
        )

    from modprompt.methods.heads.features import AGAIN, read_features
    from modprompt.trainers import heads_report as report
    from modprompt.trainers.on_features import compared, configured
    from modprompt.trainers.unknown_classes import NOT_COMPARABLE

    methods = configured(args.head, args.backbone[0], options)
    features = read_features(args.features, args.backbone[0], args.classes, args.backbone[-1], args.split)
    print(
        f"Read {len(features.tested.labels)} images of {len(features.classes)} classes from {args.features} ({AGAIN})."
    )
    out = of_user(args.out) if args.out else Path("output", "heads", features.folder.resolve().name)
    report.require_replaceable_files(out)
    more = {"seed": args.seed, "base_new": args.base_new, "trained_keys": args.trained_keys}
    rows = compared(features, methods, args.shots or features.shots(), **more)
    print(report.table(rows, features))
    if any(row.apart and "energy" not in row.apart for row in rows):
        print(f"note: the energy is missing in some rows, because {NOT_COMPARABLE}.")
    print(f"The results were written to {', '.join(map(str, report.write(rows, features, out)))}.")
    return 0
