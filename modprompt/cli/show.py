"""Look at a trained model in a browser: upload an image, edit the classes, and see where its layers look.

modprompt show output/run

The page is only served to this machine, and no request leaves it. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse

from modprompt.errors import UserError
from modprompt.programs import import_modules, take_imports

_PORT = 7860
_MOST_PORT = 65535


def main(argv: list[str] | None = None) -> int:
    """Serve the page until it is interrupted. Exit code 0.

    Raises:
        UserError: if there is no such model, a package is missing, or the port is in use.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's output folder, or a checkpoint")
    add("--port", type=int, default=_PORT, help="of the page; 0 finds a free one (default: %(default)s)")
    add("--clip", default="", help="the CLIP, by name or path (default: what the checkpoint or the run says)")
    add("--epoch", type=int, help="epoch of the checkpoint in a folder (default: the best, or the last)")
    add("--device", default="", help="e.g. cpu (default: CUDA if there is any)")
    take_imports(parser)
    args = parser.parse_args(argv)
    import_modules(args.imports)
    if not 0 <= args.port <= _MOST_PORT:
        raise UserError(f"--port must be from 0 to {_MOST_PORT}, got {args.port}")

    from modprompt.engine.precision import set_products  # --help does not import PyTorch
    from modprompt.use.page import serve
    from modprompt.use.trained import open_trained

    set_products()
    # before Gradio is imported, which goes offline: a CLIP may have to be downloaded
    trained = open_trained(args.run, clip=args.clip or None, epoch=args.epoch, device=args.device or None)
    serve(trained, args.port, lambda address: print(f"open {address} (Ctrl-C ends it)", flush=True))
    return 0
