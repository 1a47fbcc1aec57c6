"""Config keys of a method, known as soon as its trainer is imported, so that no codebase needs an edit.

Keys are only ever added where they are missing: a codebase may have made some of them itself.
"""

import functools
from typing import Dict, Optional

from dassl.config import cfg_default
from yacs.config import CfgNode

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def add_missing(node: CfgNode, defaults: CfgNode) -> None:
    """Add to `node`, in place, the keys of `defaults` that it lacks, level by level."""
    frozen = node.is_frozen()
    node.defrost()
    for key, value in defaults.items():
        if key not in node:
            node[key] = value.clone() if isinstance(value, CfgNode) else value
        elif isinstance(value, CfgNode):
            add_missing(node[key], value)
    if frozen:
        node.freeze()


def add_family_defaults(cfg: CfgNode) -> None:
    """Keys of the family beside Dassl's own: classes of the data set, CLIP on disk, the text side's memory."""
    defaults = CfgNode()
    defaults.DATASET = CfgNode()
    defaults.DATASET.SUBSAMPLE_CLASSES = "all"
    defaults.DATASET.REFERENCE_NAMES = False  # Caltech256: class names cut at hyphens, as the reference has them
    # without validation images choose on the test images, as the family does, and not on held-out training images
    defaults.DATASET.VAL_FROM_TEST = False
    defaults.TEST = CfgNode()
    defaults.TEST.ONLY = False  # set where nothing is trained, by --eval-only or a zero-shot trainer: nothing is chosen
    defaults.TEST.FEATURE_CACHE = ""  # folder for image features, where these do not depend on prompts; empty: none
    defaults.MODEL = CfgNode()
    defaults.MODEL.TEXT_CHUNK = 0  # classes whose text side is computed at a time; 0: as free memory allows
    defaults.MODEL.COMPILE = ""  # torch.compile of both encoders: default, reduce-overhead (CUDA graphs) or aot_eager
    defaults.MODEL.BACKBONE = CfgNode()
    defaults.MODEL.BACKBONE.PATH = ""
    add_missing(cfg, defaults)


_NODES: Dict[str, CfgNode] = {}  # the methods' nodes under TRAINER, as registered


def add_defaults(cfg: CfgNode) -> None:
    """Add to a configuration, in place, the family's keys and the nodes of all imported trainers, where missing."""
    add_family_defaults(cfg)
    defaults = CfgNode()
    for name, node in _NODES.items():
        defaults[name] = node
    add_missing(cfg.TRAINER, defaults)


def registered_default(name: str, key: str):
    """The default of a setting of a method's node; None if the method has no such setting."""
    return _NODES[name].get(key) if name in _NODES else None


def register_defaults(name: str = "", node: Optional[CfgNode] = None) -> None:
    """Put the family's defaults, and a method's node, into the live node behind every later `get_cfg_default()`.

    Args:
        name: of the node under TRAINER; empty for a trainer without settings.
        node: the settings of the method.
    """
    if name:
        _NODES[name] = node
    add_defaults(cfg_default)
    for merge in ("merge_from_file", "merge_from_list"):
        _complete_before(merge)


def _complete_before(merge: str) -> None:
    """Have a configuration get the keys that it lacks before something is merged into it.

    Some codebases take all other trainers' nodes out of Dassl's defaults, or have defaults of their own.
    """
    plain = getattr(CfgNode, merge)
    if hasattr(plain, "completes"):
        return

    @functools.wraps(plain)
    def completed(self, *args, **kwargs):
        if isinstance(self.get("TRAINER"), CfgNode) and not self.is_frozen():
            add_defaults(self)
        return plain(self, *args, **kwargs)

    completed.completes = True
    setattr(CfgNode, merge, completed)
