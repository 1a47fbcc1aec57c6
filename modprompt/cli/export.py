"""Export a trained model: its image encoder with its prompts, and its finished class matrix.

modprompt export output/run --to onnx                      output/run/export.onnx, checked with ONNX Runtime
modprompt export output/run --to onnx --precision fp16     half the size
modprompt export output/run --to safetensors               learner and class matrix, for modprompt.load
modprompt export output/run --to lora                      low-rank matrices for CLIP-LoRA's own program, .pt
"""

from __future__ import annotations

from modprompt.cli.model_flags import opened, parser_of


def main(argv: list[str] | None = None) -> int:
    """Write the file, and print what it is and how it compares with PyTorch; exit code 0. UserError as use.export."""
    parser = parser_of(__doc__, device=False)
    add = parser.add_argument
    add("--to", required=True, choices=["onnx", "safetensors", "lora"], help="the kind of file")
    add("--precision", default="fp32", choices=["fp32", "fp16"], help="of the weights (default: %(default)s)")
    add("--out", default="", metavar="FILE", help="the file (default: export.onnx, .safetensors or .pt in the run)")
    args = parser.parse_args(argv)

    from modprompt.use.export import export, place_of  # --help does not import PyTorch

    trained = opened(args, "cpu")
    print(export(trained, args.to, place_of(trained, args.to, args.out), args.precision))
    return 0
