"""The published implementations of MPL, MaPLe, CoOp and CoCoOp, from a checkout, as one more side of the benchmarks.

Their code is imported from the checkout of the official MPL repository, which has all four. In fp16 it runs unchanged.
In fp32 one thing is changed: while it is built and run, its hard-coded `.half()` does nothing. It would mix types on a
GPU, and on a CPU it would be hundreds of times slower.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from modprompt.clip.package import import_clip
from modprompt.compat import find as compat
from modprompt.errors import UserError


class _Published(NamedTuple):
    """Where a method is, its config node and settings, and the arguments of its copy of CLIP."""

    module: str
    node: str
    settings: Mapping[str, Any]
    design: Mapping[str, int] = {}


WORDS = "a photo of a"
PUBLISHED = {
    "MPL": _Published(
        "mpl", "MPL", {"N_CTX": 1, "N_ADD_OP": 2, "N_RM_OP": 1, "CTX_INIT": WORDS}, {"n_ctx": 1, "n_rm_op": 1}
    ),
    "MaPLe": _Published("maple", "MAPLE", {"N_CTX": 2, "CTX_INIT": WORDS}, {"maple_length": 2}),
    "CoOp": _Published("coop", "COOP", {"N_CTX": 16, "CSC": False, "CTX_INIT": "", "CLASS_TOKEN_POSITION": "end"}),
    "CoCoOp": _Published("cocoop", "COCOOP", {"N_CTX": 4, "CTX_INIT": WORDS}),
}


def _config(published: _Published, precision: str, size: int, depth: int) -> CfgNode:
    cfg = CfgNode()
    cfg.INPUT = CfgNode({"SIZE": [size, size]})
    settings = {**published.settings, "PREC": precision, "PROMPT_DEPTH": depth}
    cfg.TRAINER = CfgNode({published.node: settings})
    return cfg


def as_it_is(self: Any, *_: Any, **__: Any) -> Any:
    return self


class WithLoss(nn.Module):
    """Wraps a published model of logits: its call gives the loss of images (B, 3, H, W) and labels (B,)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.prompt_learner = model.get_submodule("prompt_learner")

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss, as in the published trainer."""
        return F.cross_entropy(self.model(images), labels)


def reference_model(
    directory: str,
    state_dict: Mapping[str, Tensor],
    classnames: Sequence[str],
    method: str = "MPL",
    precision: str = "fp32",
    size: int = 224,
    depth: int = 9,
) -> nn.Module:
    """The checkout's model in its reference setting, in training mode; its call gives the loss of images and labels.

    Args:
        directory: a checkout of the official MPL repository.
        state_dict: weights of a CLIP.
        classnames: names of the classes.
        method: "MPL", "MaPLe", "CoOp" or "CoCoOp".
        precision: "fp16", for a GPU, or "fp32", for which the process's `.half()` does nothing from here on.
        size: of the images.
        depth: layers that receive prompts, for MPL and MaPLe.

    Raises:
        UserError: if the folder is not such a checkout.
    """
    published = PUBLISHED[method]
    clip = import_from(directory, published.module)
    if precision != "fp16":
        for kind in (nn.Module, torch.Tensor):
            kind.half = as_it_is  # type: ignore[method-assign]  # on purpose, for the whole process
    registry = importlib.import_module("dassl.engine").TRAINER_REGISTRY
    with mock.patch.object(registry, "register", return_value=as_it_is):  # ours may have the name
        trainer = importlib.import_module(f"trainers.{published.module}")
    details = {"trainer": method, "vision_depth": 0, "vision_ctx": 0, "language_depth": 0, "language_ctx": 0}
    clip_model = clip.build_model(dict(state_dict), {**details, **published.design})
    if precision != "fp16":
        clip_model.float()
    model: nn.Module = trainer.CustomCLIP(_config(published, precision, size, depth), classnames, clip_model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("prompt_learner" in name)
    return WithLoss(model) if method == "CoOp" else model


def require_checkout(directory: str, module: str = "mpl") -> Path:
    """The folder of a checkout that has a trainer's module; UserError if it is none."""
    root = Path(directory).resolve()
    for needed in (f"trainers/{module}.py", "clip/clip.py"):
        if not (root / needed).is_file():
            raise UserError(
                f"--reference {directory} is not a checkout of the official MPL repository, because {needed} is "
                "missing. Give the folder of a checkout."
            )
    return root


def import_from(directory: str, module: str) -> Any:
    """The checkout's `clip.clip`, which is found under that name from here on."""
    root = require_checkout(directory, module)
    compat.add_to_path()
    import_clip()  # leaves a substitute for what old copies of clip need from setuptools
    if Path(str(sys.modules["clip.clip"].__file__)) != root / "clip" / "clip.py":  # its trainers register once
        for name in [name for name in sys.modules if name.split(".")[0] in ("clip", "trainers")]:
            del sys.modules[name]
        sys.path.insert(0, str(root))
    return importlib.import_module("clip.clip")
