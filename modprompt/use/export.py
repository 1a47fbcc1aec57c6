"""Exporting a trained model: ONNX, a torch.export program, or learner and class matrix in safetensors.

A file is compared with PyTorch before it is written, and is written whole or not at all.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from modprompt.checks import one_of
from modprompt.clip.facts import called
from modprompt.clip.known import Images
from modprompt.clip.towers import has_image_tower, joint_width
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.files import of_user, part_of
from modprompt.io.image_files import FAMILY
from modprompt.io.records import KEY
from modprompt.io.tensors import write_safetensors, write_tensors
from modprompt.methods.model import PromptedModel
from modprompt.methods.records import describe, method_record
from modprompt.use import export_files
from modprompt.use.export_check import Checked, check
from modprompt.use.export_model import ExportedModel
from modprompt.use.prediction import SOFTMAX
from modprompt.use.preprocessing import as_record, as_settings, images_of
from modprompt.use.trained import Trained
from modprompt.version import __version__

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": checkpoint.SAFETENSORS, "lora": ".pt"}
PRECISIONS = ("fp32", "fp16")


class Exported(NamedTuple):
    """A file that was written.

    path: the file.
    size: its bytes.
    gives: its inputs and outputs, in a sentence.
    checked: how it compares with PyTorch; None for safetensors, which is not run.
    """

    path: Path
    size: int
    gives: str
    checked: Checked | None


def place_of(trained: Trained, to: str, out: str = "") -> Path:
    """Where an export goes: `out`, or else next to the checkpoint's folder.

    Raises:
        UserError: if `out` has the wrong suffix for such files, is a folder, or is the checkpoint itself.
    """
    suffix = SUFFIXES[to]
    if not out:
        folder = trained.path.parent
        return (folder.parent if trained.path.name.startswith("model") else folder) / f"export{suffix}"
    path = of_user(out)
    if path.suffix != suffix:
        raise UserError(f"--out {out}: a file of --to {to} ends in {suffix}")
    if path.is_dir():
        raise UserError(f"--out {out} is a folder: name a file in it")
    if path.exists() and path.samefile(trained.path):
        raise UserError(f"--out {out} is the file that is exported: name another")
    return path


def export(trained: Trained, to: str, path: Path, precision: str = "fp32") -> Exported:
    """Write a trained model's file; an existing one is replaced.

    Args:
        trained: the model, in float32 on the CPU, with the transform of its images.
        to: onnx, torch, safetensors, or lora for the file of CLIP-LoRA's repository.
        path: the file.
        precision: of the weights: fp32 or fp16; safetensors and lora only have fp32.

    Raises:
        UserError: if the method has no class matrix, a package is missing, PyTorch's exporter refuses the model, or the
            file's outputs are not the model's; then nothing is written.
    """
    one_of("to", to, list(SUFFIXES))
    one_of("precision", precision, PRECISIONS)
    if to in _AS_LEARNED:
        if precision != "fp32":
            raise UserError(f"--to {to} has what was learned, unchanged: leave out --precision")
        return _AS_LEARNED[to](trained, path)
    export_files.require_packages(to)
    model, images = trained.model, images_of(trained.preprocess)
    if model.logit_scale.device.type != "cpu" or model.products != torch.float32:
        raise UserError("a model is exported from float32 on the CPU: open it there")
    half = precision == "fp16"
    if half and has_image_tower(model.clip_model):
        raise UserError(f"--precision fp16: the image side of {called(model.clip_model)} runs in float32: use fp32")
    with export_files.refusals(to):
        program = export_files.program_of(ExportedModel(model, half), images.size)
        content = export_files.WRITES[to](program, metadata_of(model, images, precision, trained.read_as))
    checked = check(model, images, export_files.RUNS[to](content), half)
    with part_of(path, durable=True) as file:
        file.write(content)
    shape = f"(batch, 3, {images.size}, {images.size})"
    width, classes = joint_width(model.clip_model), len(model.classes.names)
    twice = "" if model.frozen_encoder is None else "; each image goes through two encoders"
    gives = f"images {shape} -> features (batch, {width}), probabilities (batch, {classes}){twice}"
    return Exported(path, len(content), gives, checked)


def metadata_of(model: PromptedModel, images: Images, precision: str, read_as: str = FAMILY) -> dict[str, Any]:
    """A file's metadata, plain values by name."""
    facts = model.clip_facts
    return {
        "classes": list(model.classes.names),
        "preprocessing": as_record(images, read_as),
        "method": type(model.method).__name__,
        "clip": {"name": facts.name or facts.file, "fingerprint": facts.fingerprint},
        "precision": precision,
        "probabilities": SOFTMAX,
        **({} if model.frozen_encoder is None else {"image_passes": 2}),
        **({"logits": model.said_of_logits} if model.said_of_logits else {}),
        "made_by": f"modprompt {__version__}, PyTorch {torch.__version__}",
    }


def _safetensors(trained: Trained, path: Path) -> Exported:
    model = trained.model
    finished = model.finished()
    state = model.saved_state()
    write_safetensors(path, {**state, **finished}, {KEY: json.dumps(_head(trained, path))})
    shapes = [f"{name} {tuple(one.shape)}" if one.dim() else name for name, one in finished.items()]
    gives = f"{', '.join([f'{len(state)} learned tensors', *shapes])}, for modprompt.load"
    return Exported(path, path.stat().st_size, gives, None)


def _low_rank(trained: Trained, path: Path) -> Exported:
    content = trained.model.prompt_learner.as_repository()
    if content is None:
        raise UserError(f"--to lora: {type(trained.model.method).__name__} has no such file: it is CLIPLoRA's")
    write_tensors(str(path), content)
    return Exported(path, path.stat().st_size, "low-rank matrices, as CLIP-LoRA's repository reads them", None)


# files with the unchanged learned tensors, which are not run here
_AS_LEARNED: dict[str, Callable[[Trained, Path], Exported]] = {"safetensors": _safetensors, "lora": _low_rank}


def _head(trained: Trained, path: Path) -> Mapping[str, Any]:
    """Epoch and record of a checkpoint; made anew if it has none, or if they are of other classes."""
    model = trained.model
    classes = model.classes_for(path)
    trains_nothing = trained.path.name.endswith(".json")  # its run only has a result
    found = None if trains_nothing else checkpoint.read(trained.path)
    epoch = 0 if found is None else found.epoch
    if found is not None and found.record and tuple(found.record["classes"]["names"]) == classes.names:
        record = found.record
    else:
        run = {"settings": as_settings(images_of(trained.preprocess), trained.read_as)}
        record = describe(method_record(model.method), classes, model.clip_facts, model.prompt_learner, run)
    return {"epoch": epoch, "val_result": None, KEY: record}


def report(done: Exported) -> str:
    """What was written and how it compares with PyTorch, in a few lines."""
    lines = [f"written: {done.path} ({done.size / 1e6:.2f} MB)", done.gives]
    found = done.checked
    if found is None:
        return "\n".join(lines)
    lines.append(
        f"against PyTorch in fp32, batches of 1 and 7: features within {found.features:.1e}, probabilities within "
        f"{found.probabilities:.1e}; the same likeliest class for {found.same_top} of {found.decided} images"
    )
    for speed in found.speeds:
        each = (1e3 * seconds / speed.batch for seconds in (speed.file, speed.pytorch))
        lines.append("batch {}: {:.2f} ms an image (PyTorch {:.2f})".format(speed.batch, *each))
    return "\n".join(lines)
