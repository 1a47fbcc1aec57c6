"""The published MPL implementation, from a checkout, as one more side of the benchmarks.

Its code is imported from the checkout and runs unchanged but for one thing: on a CPU its hard-coded `.half()` would be
hundreds of times slower, so while it is built and run `.half()` does nothing.
"""

import importlib
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from modprompt.clips.package import import_clip
from modprompt.compat import find as compat
from modprompt.errors import UserError


def _config() -> CfgNode:
    cfg = CfgNode()
    cfg.INPUT = CfgNode({"SIZE": [224, 224]})
    node = {"N_CTX": 1, "N_ADD_OP": 2, "N_RM_OP": 1, "CTX_INIT": "a photo of a", "PREC": "fp32", "PROMPT_DEPTH": 9}
    cfg.TRAINER = CfgNode({"MPL": node})
    return cfg


def _as_it_is(self: Any, *_: Any, **__: Any) -> Any:
    return self


def reference_model(directory: str, state_dict: Mapping[str, Tensor], classnames: Sequence[str]) -> nn.Module:
    """The checkout's model in its reference setting, in training mode; its call gives the loss of images and labels.

    Args:
        directory: a checkout of the official repository.
        state_dict: weights of a CLIP.
        classnames: names of the classes.

    Raises:
        UserError: if the folder is no such checkout.
    """
    root = Path(directory).resolve()
    if not (root / "trainers" / "mpl.py").is_file() or not (root / "clip" / "clip.py").is_file():
        raise UserError(
            f"--reference {directory}: there is no trainers/mpl.py and clip/clip.py of the official MPL there"
        )
    compat.add_to_path()
    import_clip()  # leaves a stand-in for what old copies of clip ask of setuptools
    for name in [name for name in sys.modules if name.split(".")[0] in ("clip", "trainers")]:
        del sys.modules[name]
    sys.path.insert(0, str(root))
    for kind in (nn.Module, torch.Tensor):
        kind.half = _as_it_is  # type: ignore[method-assign]  # on purpose, for the whole process
    clip = importlib.import_module("clip.clip")  # the checkout's, as the trainer
    trainer = importlib.import_module("trainers.mpl")
    details = {"trainer": "MPL", "vision_depth": 0, "vision_ctx": 0, "language_depth": 0, "language_ctx": 0}
    clip_model = clip.build_model(dict(state_dict), {**details, "n_ctx": 1, "n_rm_op": 1}).float()
    model: nn.Module = trainer.CustomCLIP(_config(), classnames, clip_model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("prompt_learner" in name)
    return model
