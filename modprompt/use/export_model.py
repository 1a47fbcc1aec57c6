"""A trained model for elsewhere: as a module from images to features and probabilities, and as an ONNX file.

A file is run and compared with PyTorch before anybody gets it. Shapes: B images, C classes, E joint width.
"""

import copy
import importlib.util
import json
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.cast import cast_products
from modprompt.clip.spec import Images
from modprompt.engine.additions import mapped
from modprompt.engine.encoders import no_additions
from modprompt.engine.layer_change import write_in
from modprompt.engine.model import blended
from modprompt.engine.tower_vision import TowerVisionEncoder
from modprompt.errors import UserError
from modprompt.methods.model import PromptedModel
from modprompt.programs import one_line

Runs = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, 3, H, W) to features (B, E) and probabilities (B, C)
OPSET = 18  # the oldest that PyTorch's exporter writes without converting; ONNX Runtime 1.14 and newer read it
MOST_BYTES = 2_000_000_000  # limit of a protocol buffer, as an ONNX file is
INPUT, OUTPUTS = "images", ["features", "probabilities"]
FEATURES, PROBABILITIES = 1e-5, 1e-4  # the largest differences from PyTorch that fp32 may have
HALF_FEATURES = 2e-2  # that fp16 may have, whose numbers have 11 bits: more means that something went wrong
_DECIDED = 0.1  # between the logits of the two likeliest classes; less counts as a tie in fp16


class ExportedModel(nn.Module):
    """The image encoder with its prompts, and the classifier of its features, copied from a model (float32, CPU).

    If the model blends its features with frozen ones, it has the encoder of these, too: images go through both. With
    `half` matrices are float16; images, features and probabilities stay float32. Raises UserError if class features
    depend on the image.
    """

    def __init__(self, model: PromptedModel, half: bool = False):
        super().__init__()
        self.classifier = model.classifier().requires_grad_(False)
        with model.as_tested(), torch.no_grad():
            prompts = model.vision_prompts()
            self.additions = [mapped(one, _apart) for one in prompts.vision_additions]
            self.changes = copy.deepcopy(prompts.vision_changes)
            self.more = (None, prompts.read.map(_apart)) if model.reads and prompts.read is not None else ()
        self.projection = model.projection()
        self.encoder, self.frozen = copy.deepcopy((model.image_encoder, model.frozen_encoder))  # shared weights once
        if any(one is not None and one.merges for one in self.changes):
            side: Any = self.encoder.side if isinstance(self.encoder, TowerVisionEncoder) else self.encoder.visual
            self.changes = write_in(side.transformer.resblocks, self.changes)
        if half:
            encoders = nn.ModuleList([self.encoder, *([] if self.frozen is None else [self.frozen])])
            cast_products(encoders, torch.float16)
            for part in encoders.modules():
                if isinstance(part, nn.BatchNorm2d):  # unlike a CLIP's layer norms these need the type of their input
                    part.half()
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features (B, E) and probabilities (B, C) of images (B, 3, H, W)."""
        features = self.encoder(images, self.additions, self.changes, *self.more).float()
        if self.frozen is not None:
            frozen = self.frozen(images, no_additions(self.frozen)).float()
            features = blended(features, F.normalize(frozen, dim=-1))
        own = features.chunk(2, dim=-1)[0] if self.more else features  # the second half is what is read out
        own = own if self.projection is None else self.projection(own)
        return F.normalize(own, dim=-1), self.classifier(features).softmax(dim=-1)


def _apart(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def onnx_bytes(model: PromptedModel, half: bool, size: int, metadata: Mapping[str, Any]) -> bytes:
    """The file of a model for any number of images of `size` pixels a side; its metadata has each part as JSON.

    `half` says whether its weights are fp16. The exporter's notes, which have paths of this machine, are left out.
    Raises UserError if a package is missing, class features depend on the image, PyTorch's exporter refuses the model,
    or it would be larger than such a file can be.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"--to onnx needs the package {package}, which is not installed. "
                "Run `pip install onnx onnxruntime onnxscript`."
            )
    exported = ExportedModel(model, half)
    example, shapes = (torch.zeros(2, 3, size, size),), {INPUT: {0: torch.export.Dim.DYNAMIC}}
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": OUTPUTS}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # on internals
            program = torch.export.export(exported, example, dynamic_shapes=shapes, strict=False)
            made: Any = torch.onnx.export(program, (), dynamo=True, opset_version=OPSET, verbose=False, **names)
    except Exception as error:  # of all kinds
        said = f"{type(error).__name__}: {one_line(error)[:160]}"
        raise UserError(
            f"PyTorch's ONNX exporter does not support this model ({said}). Use --to safetensors instead."
        ) from error
    proto = made.model_proto  # made anew by each access
    graph = proto.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    for part in [proto, graph, *graph.node, *graph.initializer, *values, *proto.functions]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for dim in (dim for value in values for dim in value.type.tensor_type.shape.dim):
        if dim.dim_param == batch:
            dim.dim_param = "batch"
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=json.dumps(value))
    if proto.ByteSize() > MOST_BYTES:
        gigabytes = proto.ByteSize() / 1e9
        raise UserError(
            f"The ONNX file would have a size of {gigabytes:.1f} GB, but the format allows only 2 GB. Use --precision "
            "fp16."
        )
    return bytes(proto.SerializeToString())


def run_onnx(content: bytes) -> Runs:
    """How a file is run, by ONNX Runtime on the CPU, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        features, probabilities = session.run(OUTPUTS, {INPUT: images.numpy()})
        return torch.from_numpy(features), torch.from_numpy(probabilities)

    return run


@torch.no_grad()
def check(model: PromptedModel, images: Images, run: Runs, half: bool) -> str:
    """How a file's outputs differ from those of a model in float32 on the CPU, in a sentence, for 1 and 7 patterns.

    `images` says how patterns become images, `half` whether the file has fp16 weights, for which more is allowed.
    Raises UserError if they differ too much.
    """
    features, probabilities, same, decided = 0.0, 0.0, 0, 0
    patterns = _patterns(images)
    for batch in (patterns[:1], patterns):
        output = model.output(batch)
        shares = output.logits.softmax(dim=-1)
        its_features, its_shares = run(batch)
        features = max(features, _difference(its_features, output.image))
        probabilities = max(probabilities, _difference(its_shares, shares))
        best = shares.log().topk(min(2, shares.shape[1]), dim=1).values
        is_decided = best[:, 0] - best[:, -1] > _DECIDED
        same += int((is_decided & (its_shares.argmax(dim=1) == shares.argmax(dim=1))).sum())
        decided += int(is_decided.sum())
    if half and (features > HALF_FEATURES or same < decided):
        raise UserError(
            f"With --precision fp16, features differ by up to {features:.1e} from fp32 features, and the most "
            f"probable class changes for {decided - same} of {decided} test inputs. Use --precision fp32."
        )
    if not half and (features > FEATURES or probabilities > PROBABILITIES):
        raise UserError(
            f"The exported model differs from the PyTorch model: features differ by up to {features:.1e} "
            f"(allowed: {FEATURES:g}), probabilities by up to {probabilities:.1e} (allowed: {PROBABILITIES:g}). "
            "No file was written."
        )
    return (
        f"Compared with PyTorch in fp32 (batches of 1 and 7 test patterns), features differ by at most {features:.1e} "
        f"and probabilities by at most {probabilities:.1e}. The most probable class agrees for {same} of {decided} "
        "patterns."
    )


def _patterns(images: Images) -> Tensor:
    """Seven images (7, 3, H, W) of coarse and fine patterns, the same each time, as a transform would make them."""
    generator, size = torch.Generator().manual_seed(0), (images.size, images.size)
    coarse = [torch.rand(1, 3, side, side, generator=generator) for side in (2, 4, 8, 16, 2, 4, 8)]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (images.mean, images.std))
    return (torch.cat([F.interpolate(pattern, size, mode="bilinear") for pattern in coarse]) - mean) / std


def _difference(given: Tensor, wanted: Tensor) -> float:
    """The largest between two outputs; infinite if one is of another shape, or not a number."""
    if given.shape != wanted.shape:
        return math.inf
    return float((given - wanted).abs().nan_to_num(nan=math.inf).max())
