"""Export a trained model: its image encoder with its prompts, and its finished class matrix.

modprompt export output/run --to onnx                      output/run/export.onnx, checked with ONNX Runtime
modprompt export output/run --to onnx --precision fp16     half the size
modprompt export output/run --to safetensors               learner and class matrix, for modprompt.load
modprompt export output/run --to lora                      low-rank matrices for CLIP-LoRA's own program, .pt
"""

from __future__ import annotations

import argparse

from modprompt.programs import import_modules, take_imports


def main(argv: list[str] | None = None) -> int:
    """Write the file, and print what it is and how it compares with PyTorch. Exit code 0.

    Raises:
        UserError: if there is no such model, it cannot be exported, or the file's outputs are not the model's.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's output folder, or a checkpoint")
    add("--to", required=True, choices=["onnx", "safetensors", "lora"], help="the kind of file")
    add("--precision", default="fp32", choices=["fp32", "fp16"], help="of the weights (default: %(default)s)")
    add("--out", default="", metavar="FILE", help="the file (default: export.onnx, .safetensors or .pt in the run)")
    add("--clip", default="", help="the CLIP, by name or path (default: what the checkpoint or the run says)")
    add("--epoch", type=int, help="epoch of the checkpoint in a folder (default: the best, or the last)")
    take_imports(parser)
    args = parser.parse_args(argv)
    import_modules(args.imports)

    from modprompt.use.export import export, place_of  # --help does not import PyTorch
    from modprompt.use.trained import open_trained

    trained = open_trained(args.run, clip=args.clip or None, epoch=args.epoch, device="cpu")
    print(export(trained, args.to, place_of(trained, args.to, args.out), args.precision))
    return 0
