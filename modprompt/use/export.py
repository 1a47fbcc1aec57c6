"""Exporting a trained model: an ONNX file, learner and class matrix in safetensors, or CLIP-LoRA's own file.

An ONNX file is compared with PyTorch before it is written; each is written whole or not at all.
"""

from pathlib import Path
from typing import Any

import torch

from modprompt.clip.facts import called
from modprompt.clip.spec import Images
from modprompt.clip.towers import has_image_tower, joint_width
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.files import of_user, part_of
from modprompt.io.image_files import FAMILY, PEOPLE
from modprompt.io.settings import READ_AS
from modprompt.io.tensors import write_tensors
from modprompt.methods.model import PromptedModel
from modprompt.methods.records import describe, method_record, write
from modprompt.use import export_model
from modprompt.use.prediction import SOFTMAX
from modprompt.use.trained import Trained, images_of
from modprompt.version import __version__

SUFFIXES = {"onnx": ".onnx", "safetensors": checkpoint.SAFETENSORS, "lora": ".pt"}
_COLOURS = {
    FAMILY: "RGB",  # Pillow's convert
    PEOPLE: "RGB, rotated according to EXIF, 16-bit values divided by 65535, transparency on white, first frame only",
}


def place_of(trained: Trained, to: str, out: str = "") -> Path:
    """Where an export goes: `out`, or else next to the checkpoint's folder.

    Raises UserError if `out` has the wrong suffix for such files, is a folder, or is the checkpoint itself.
    """
    suffix = SUFFIXES[to]
    if not out:
        folder = trained.path.parent
        return (folder.parent if trained.path.name.startswith("model") else folder) / f"export{suffix}"
    path = of_user(out)
    if path.suffix != suffix:
        raise UserError(
            f"--out {out} does not end in {suffix}, the file extension for --to {to}. Rename the output file."
        )
    if path.exists() and path.samefile(trained.path):
        raise UserError(f"--out {out} is the same file as the checkpoint to be exported. Choose another output file.")
    return path


def export(trained: Trained, to: str, path: Path, precision: str = "fp32") -> str:
    """Write the file of a model in float32 on the CPU; say what it is and how it compares with PyTorch, in a few lines.

    `to` is onnx, safetensors, or lora for the file of CLIP-LoRA's repository, `precision` that of an ONNX file's
    weights, fp32 or fp16. Raises UserError if the method has no class matrix, a package is missing, PyTorch's exporter
    refuses the model, or the file's outputs are not the model's; what was at the path stays then.
    """
    trained.model.method.require_each_alone(f"--to {to}")
    if to != "onnx" and precision != "fp32":
        raise UserError(
            f"--precision {precision} has no effect with --to {to}, which writes the learned weights unchanged. "
            "Remove --precision."
        )
    if to == "onnx":
        said = _onnx(trained, path, precision == "fp16")
    else:
        said = _safetensors(trained, path) if to == "safetensors" else _low_rank(trained, path)
    return f"Exported to {path} ({path.stat().st_size / 1e6:.2f} MB)\n{said}"


def _onnx(trained: Trained, path: Path, half: bool) -> str:
    model, images = trained.model, images_of(trained.preprocess)
    if half and has_image_tower(model.clip_model):
        raise UserError(
            f"--precision fp16 is not supported for {called(model.clip_model)}, whose image encoder runs in float32. "
            "Use --precision fp32."
        )
    facts = metadata_of(model, images, "fp16" if half else "fp32", trained.read_as)
    content = export_model.onnx_bytes(model, half, images.size, facts)
    checked = export_model.check(model, images, export_model.run_onnx(content), half)
    with part_of(path, durable=True) as file:
        file.write(content)
    shape = f"(batch, 3, {images.size}, {images.size})"
    width, classes = joint_width(model.clip_model), len(model.classes.names)
    twice = "" if model.frozen_encoder is None else "\nEach image passes through two image encoders."
    return (
        f"The model maps images {shape} to features (batch, {width}) and probabilities (batch, {classes}).{twice}\n"
        f"{checked}"
    )


def metadata_of(model: PromptedModel, images: Images, precision: str, read_as: str = FAMILY) -> dict[str, Any]:
    """An ONNX file's metadata, plain values by name; all steps from an image to numbers are among them."""
    facts = model.clip_facts
    preprocessing = {
        "colours": _COLOURS[read_as],
        "resize": images.resize,
        "interpolation": images.interpolation,
        "crop": "centre",
        "size": images.size,
        "range": [0.0, 1.0],
        "mean": list(images.mean),
        "std": list(images.std),
        "layout": "NCHW",
    }
    return {
        "classes": list(model.classes.names),
        "preprocessing": preprocessing,
        "method": type(model.method).__name__,
        "clip": {"name": facts.name or facts.file, "fingerprint": facts.fingerprint},
        "precision": precision,
        "probabilities": SOFTMAX,
        **({} if model.frozen_encoder is None else {"image_passes": 2}),
        **({"logits": model.said_of_logits} if model.said_of_logits else {}),
        "made_by": f"modprompt {__version__}, PyTorch {torch.__version__}",
    }


def _safetensors(trained: Trained, path: Path) -> str:
    """With epoch and record of the checkpoint; made anew if it has none, or if they are of other classes."""
    model = trained.model
    finished, state, classes = model.finished(), model.saved_state(), model.classes_for(path)
    content = None if trained.path.suffix == ".json" else checkpoint.read(trained.path)  # a run that trains nothing
    record = {} if content is None else content.record
    if not record or tuple(record["classes"]["names"]) != classes.names:
        values = images_of(trained.preprocess).settings()
        texts = {f"INPUT.{key}": one if isinstance(one, str) else str(list(one)) for key, one in values.items()}
        run = {"settings": {**texts, "INPUT.TRANSFORMS": "['normalize']", READ_AS: trained.read_as}}
        record = describe(method_record(model.method), classes, model.clip_facts, model.prompt_learner, run)
    write(path, {**state, **finished}, record, 0 if content is None else content.epoch)
    shapes = [f"{name} {tuple(tensor.shape)}" if tensor.dim() else name for name, tensor in finished.items()]
    learned = f"{len(state)} learned tensor{'' if len(state) == 1 else 's'}"
    return f"The file contains {', '.join([learned, *shapes])}. Load the file with modprompt.load."


def _low_rank(trained: Trained, path: Path) -> str:
    content = trained.model.prompt_learner.as_repository()
    if content is None:
        raise UserError(
            f"--to lora supports only models trained with CLIPLoRA, not {type(trained.model.method).__name__}. "
            "Use --to safetensors or --to onnx."
        )
    write_tensors(str(path), content)
    return "The file contains the low-rank matrices in the format of the CLIP-LoRA repository."
