"""Record what kdiAAA/TDA (e697fb0) answers on features.npz: python -m tests.modprompt.methods.heads.record_tda CHECKOUT

Run once by a developer on a CPU. Images are the features, one by one, as they stand. In the process `.cuda()` does nothing,
`.half()` gives float32, `clip` and `wandb` are stand-ins.
"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import yaml

from tests.modprompt.methods.heads.golden import FEATURES, HERE, NAMES


def logits_of(program, utils, config):
    """The logits (N, C) under a config."""
    texts, found = iter(FEATURES["text"].clone()), []
    clip = SimpleNamespace(encode_text=lambda _: next(texts), encode_image=torch.clone)
    program.cls_acc = lambda logits, _: found.append(logits) or 0.0
    images = [(one[None], torch.zeros(1)) for one in FEATURES["test"]]
    text = utils.clip_classifier(NAMES, ["{}"], clip)
    program.run_test_tda(config["positive"], config["negative"], images, clip, text)
    return torch.cat(found)


def main():
    sys.path.insert(0, sys.argv[1])
    torch.Tensor.cuda, torch.Tensor.half = (lambda self: self), torch.Tensor.float
    sys.modules["clip"] = SimpleNamespace(tokenize=lambda texts: torch.zeros(1))
    sys.modules["wandb"] = SimpleNamespace(log=lambda *args, **kwargs: None)
    program, utils = (importlib.import_module(name) for name in ("tda_runner", "utils"))
    golden = {}
    for case in ("imagenet", "eurosat"):
        logits = logits_of(program, utils, yaml.safe_load(Path(sys.argv[1], f"configs/{case}.yaml").read_text()))
        golden[case] = [[round(value, 5) for value in row] for row in logits.tolist()]
    (HERE / "golden_tda.json").write_text(json.dumps(golden).replace("]], ", "]],\n") + "\n")


if __name__ == "__main__":
    main()
