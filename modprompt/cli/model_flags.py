"""The flags of commands that use a trained model, and the model that they name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from modprompt.programs import Parser, import_modules, take_imports

if TYPE_CHECKING:  # --help does not import PyTorch
    from modprompt.use.trained import Trained


def parser_of(description: str | None, device: bool = True) -> argparse.ArgumentParser:
    """A parser with the run, --clip, --epoch, --import and, if asked for, --device."""
    parser = Parser(description)
    add = parser.add_argument
    add("run", metavar="RUN", help="output folder of a run, or a checkpoint")
    add(
        "--clip", default="", help="name or path of the CLIP (default: the CLIP that the checkpoint or the run records)"
    )
    add(
        "--epoch",
        type=int,
        help="epoch of the checkpoint in the folder RUN (default: the best checkpoint, else the last)",
    )
    if device:
        add("--device", default="", help="cpu or cuda (default: cuda if a GPU is available, else cpu)")
    take_imports(parser)
    return parser


def opened(args: Any, device: str = "") -> Trained:
    """The model that the flags name, on a device (default: that of --device); raises UserError as open_trained."""
    import_modules(args.imports)
    from modprompt.engine.precision import set_products
    from modprompt.use.trained import open_trained

    set_products()
    place = device or args.device or None
    return open_trained(args.run, clip=args.clip or None, epoch=args.epoch, device=place)
