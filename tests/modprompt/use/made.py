"""Folders as runs leave them, made at once: of any method in front of the embedded CLIP, nothing trained."""

import copy
import functools

import torch

import modprompt
from modprompt.io import result
from modprompt.io.files import write_json
from modprompt.io.records import sealed
from modprompt.methods.records import describe, method_record, write

NAMES = ["one", "two", "three"]
FITTING = {  # settings for CLIPs of two layers or more
    "CoOp": {"n_ctx": 2},
    "CoCoOp": {"n_ctx": 2},
    "MPL": {"n_ctx": 1, "prompt_depth": 2},
    "VPT": {"prompt_depth_vision": 2},
    "PromptSRC": {"prompt_depth_text": 2, "prompt_depth_vision": 2},
    "MMRL": {"rep_layers": (1, 2), "rep_dim": 16},
}
INPUT = {
    "INPUT.SIZE": "[32, 32]",
    "INPUT.TRANSFORMS": "['random_flip', 'normalize']",
    "INPUT.INTERPOLATION": "bicubic",
    "INPUT.PIXEL_MEAN": "[0.48145466, 0.4578275, 0.40821073]",
    "INPUT.PIXEL_STD": "[0.26862954, 0.26130258, 0.27577711]",
    "INPUT.RESIZE_MODE": "shortest",
    "INPUT.NO_TRANSFORM": "False",
}


@functools.cache
def _loaded():
    return modprompt.load_clip("glyph-clip", device="cpu")[0]


def glyph():
    """The embedded CLIP, as it is loaded: a copy, which takes a tenth of the time."""
    return copy.deepcopy(_loaded())


def model_of(name, names=NAMES, clip_model=None, **settings):
    """A model of the method of this name, as if it had learned something."""
    torch.manual_seed(0)
    method = getattr(modprompt, name)(**{**FITTING.get(name, {}), **settings})
    model = method.on(glyph() if clip_model is None else clip_model, names)
    with torch.no_grad():
        for parameter in model.learned.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


def write_run(folder, model, accuracy=75.0):
    """The output folder of a run of a model: its checkpoint, if it has learned something, and result.json."""
    record = method_record(model.method)
    state = model.saved_state()
    if state:
        said = describe(record, model.classes, model.clip_facts, model.prompt_learner, {"settings": INPUT})
        write(folder / model.method.saved_as.folder / "model.pth.tar-1", state, said, 1)
        (folder / model.method.saved_as.folder / "checkpoint").write_text("model.pth.tar-1\n")
    content = {
        "trainer": record["name"],
        "dataset": "Digits",
        "method": record,
        "class_names": {"names": list(model.classes.names), "dataset": "", "templates": ["a {}."]},
        "clip": model.clip_facts.as_record(),
        "input": {key: text for key, text in INPUT.items() if key not in ("INPUT.TRANSFORMS", "INPUT.NO_TRANSFORM")},
        "settings": {"INPUT.TRANSFORMS": INPUT["INPUT.TRANSFORMS"]},
        "seed": 1,
        "shots": 16,
        "accuracy_pct": accuracy,
    }
    write_json(folder / result.FILE_NAME, sealed(content, result.VERSION))
    return folder
