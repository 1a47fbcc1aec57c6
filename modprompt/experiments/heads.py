"""Heads on features that others have computed, as Tip-Adapter's programs leave them: fitted, tested, side by side.

modprompt heads --features caches/eurosat --classes clip_weights.pt --backbone ViT-B/32 --head TipAdapter LPPlusPlus
modprompt heads --features caches/eurosat --backbone ViT-B/32 --head ADAPTER
    --set TRAINER.ADAPTER.INIT RANDOM TRAINER.ADAPTER.CONSTRAINT none       no class features are read

FOLDER has test_f.pt and test_l.pt, keys_16shots.pt and values_16shots.pt, perhaps val_f.pt and val_l.pt. Alpha and beta
are chosen on min(shots, 4) validation images a class; with --split val on half of each class, and all is tested on the
other. Each head has its settings of base to new for the CLIP, or those for ViT-B/16.
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
    add("--features", required=True, metavar="FOLDER", help="features of images")
    add("--classes", default="", metavar="FILE", help="class features, or a pickled head; heads without text need none")
    what = "the CLIP of the image features, name or path, and that of the class features if it is stated otherwise"
    add("--backbone", required=True, nargs="+", metavar="NAME", help=what)
    add("--split", default="test", choices=["test", "val"], help="the images that are tested (default: %(default)s)")
    add("--head", nargs="+", default=[], metavar="NAME", help="TipAdapter, LPPlusPlus, ...; none: zero-shot alone")
    add("--shots", nargs="+", type=int, default=[], metavar="N", help="images a class (default: all that are there)")
    add("--seed", type=int, default=1, help="of draws (default: %(default)s)")
    add("--base-new", action="store_true", help="fit on the first half of the classes, test both, tell them apart")
    add("--trained-keys", action="store_true", help="TipAdapterF with best_F_*shots.pt, which others have trained")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY VALUE",
        help="settings: TRAINER.TIPADAPTER.INIT_BETA 5.5 OPTIM.LR 1",
    )
    add("--out", default="", metavar="FOLDER", help="of heads.csv and heads.png (default: output/heads/FOLDER)")
    args = parser.parse_args(argv)
    options = pairs(args.set)
    if len(args.backbone) > 2:
        raise UserError("--backbone: name the CLIP of the image features, and that of the class features at most")

    from modprompt.experiments.reporting import on_features as report
    from modprompt.methods.heads.features import AGAIN, read_features
    from modprompt.trainers.on_features import compared, configured
    from modprompt.trainers.unknown_classes import NOT_COMPARABLE

    methods = configured(args.head, args.backbone[0], options)
    features = read_features(args.features, args.backbone[0], args.classes, args.backbone[-1], args.split)
    print(f"{len(features.tested.labels)} images, {len(features.classes)} classes of {args.features}; {AGAIN}")
    out = of_user(args.out) if args.out else Path("output", "heads", features.folder.resolve().name)
    report.require_replaceable_files(out)
    more = {"seed": args.seed, "base_new": args.base_new, "trained_keys": args.trained_keys}
    rows = compared(features, methods, args.shots or features.shots(), **more)
    print(report.table(rows, features))
    if any(row.apart and "energy" not in row.apart for row in rows):
        print(f"note: where energy is left out, {NOT_COMPARABLE}")
    print("written:", *report.write(rows, features, out))
    return 0
