"""Serve a web page for a trained model: upload an image, edit the classes, and see the attention of each layer.

modprompt show output/run

The page can be opened only on this machine, and the page sends no data to other machines. Press Ctrl-C to stop.
"""

from __future__ import annotations

from modprompt.checks import at_least, at_most
from modprompt.cli.model_flags import opened, parser_of


def main(argv: list[str] | None = None) -> int:
    """Serve the page until it is interrupted; exit code 0. UserError if there is no model, Gradio, or free port."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--port", type=int, default=7860, help="port of the page; 0 selects a free port (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    at_least("--port", args.port, 0)
    at_most("--port", args.port, 65535)

    from modprompt.use.page import serve  # --help does not import PyTorch

    # opened before Gradio is imported, which goes offline: a CLIP may have to be downloaded
    serve(
        opened(args),
        args.port,
        lambda address: print(f"Open {address} in a browser. Press Ctrl-C to stop.", flush=True),
    )
    return 0
