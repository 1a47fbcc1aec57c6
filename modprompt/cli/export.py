"""Export a trained model: the image encoder with its prompts, and the features of the classes.

modprompt export output/run --to onnx                      write output/run/export.onnx and check it with ONNX Runtime
modprompt export output/run --to onnx --precision fp16     write a file of half the size
modprompt export output/run --to safetensors               write the learned parameters and the class features, for
                                                           modprompt.load
modprompt export output/run --to lora                      write a .pt file of low-rank matrices for the original
                                                           CLIP-LoRA program
"""

from __future__ import annotations

from modprompt.cli.model_flags import opened, parser_of


def main(argv: list[str] | None = None) -> int:
    """Write the file, and print what it is and how it compares with PyTorch; exit code 0. UserError as use.export."""
    parser = parser_of(__doc__, device=False)
    add = parser.add_argument
    add("--to", required=True, choices=["onnx", "safetensors", "lora"], help="format of the exported file")
    add(
        "--precision",
        default="fp32",
        choices=["fp32", "fp16"],
        help="precision of the exported weights (default: %(default)s)",
    )
    add(
        "--out",
        default="",
        metavar="FILE",
        help="path of the exported file (default: export.onnx, .safetensors or .pt in RUN)",
    )
    args = parser.parse_args(argv)

    from modprompt.use.export import export, place_of  # --help does not import PyTorch

    trained = opened(args, "cpu")
    print(export(trained, args.to, place_of(trained, args.to, args.out), args.precision))
    return 0
