"""Record the public PromptKD on a CPU, for tests/modprompt/methods/test_promptkd.py.

usage: PYTHONPATH=DASSL python tests/modprompt/methods/record_promptkd.py CHECKOUT CASE

CHECKOUT is github.com/zhengli97/PromptKD at ec244f7, DASSL a checkout of KaiyangZhou/Dassl.pytorch. Its train.py runs on
the CLIPs, the teacher and the data tree that `inputs` makes, which the tests make too; what a CPU cannot do is switched
off in this process: halves, `.cuda()` and TorchScript archives; its literal widths 512 and 768 become the CLIPs'.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

STUDENT = {"text_layers": 4, "vision_layers": 4}
TEACHER = {"text_layers": 3, "vision_layers": 3, "text_width": 128, "vision_width": 192, "embed_dim": 48}
TEACHERS_CONFIG = {
    "embed_dim": TEACHER["embed_dim"],
    "quick_gelu": True,
    "vision_cfg": {"layers": 3, "width": TEACHER["vision_width"], "head_width": 64, "patch_size": 16, "image_size": 32},
    "text_cfg": {"layers": 3, "width": TEACHER["text_width"], "heads": 2, "context_length": 77, "vocab_size": 49408},
}
SETTINGS = [
    "USE_CUDA", "False", "INPUT.SIZE", "(32, 32)", "DATALOADER.NUM_WORKERS", "0", "OPTIM.MAX_EPOCH", "2",
]  # fmt: skip
CASES = {  # of the configs as they are: MODAL, config, options
    "base2novel": (
        "base2novel",
        "vit_b16_c2_ep20_batch8_4+4ctx",
        ["DATASET.NUM_SHOTS", "0", "TRAINER.PROMPTKD.KD_WEIGHT", "200.0"],
    ),
    "cross": (
        "cross",
        "vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets",
        [
            *("DATASET.NUM_SHOTS", "3", "TRAINER.PROMPTKD.TEMPERATURE", "2.0", "DATALOADER.TRAIN_X.BATCH_SIZE", "5"),
            *("TRAINER.PROMPTKD.KD_WEIGHT", "200.0"),
        ],
    ),
}
DEPTH = {"base2novel": 4, "cross": 3}  # of the student, which has no nine layers
PLACES = ("EuroSAT/VLPromptLearner/model-best.pth.tar", "ImageNet-xd/VLPromptLearner_large/model.pth.tar-20")


def clips(folder):
    """(student, teacher): state dicts of random CLIPs."""
    from tests.conftest import published, random_clip

    return published(random_clip(1, **STUDENT)), published(random_clip(2, **TEACHER))


def teacher_checkpoint(teacher, depth=3, tokens=4):
    """A file of learned prompts as the repository has them, whole CLIP inside, all of it made."""
    draw = torch.Generator().manual_seed(5)
    bookkeeping = ("input_resolution", "context_length", "vocab_size", "token_embedding.weight")
    state = {}
    for name, one in teacher.items():
        if name not in bookkeeping:
            inside = name == "logit_scale"
            key = name if inside else name.replace("visual.", "image_encoder.", 1)
            state[key if inside or name.startswith("visual.") else f"text_encoder.{name}"] = one.clone()

    def made(*shape):
        return 0.3 * torch.randn(*shape, generator=draw)

    text, vision = TEACHER["text_width"], TEACHER["vision_width"]
    state["prompt_learner.ctx"] = made(tokens, text)
    state["image_encoder.VPT"] = made(tokens, vision)
    for layer in range(1, depth):
        state[f"image_encoder.transformer.resblocks.{layer}.VPT_shallow"] = made(tokens, vision)
        state[f"text_encoder.transformer.resblocks.{layer}.VPT_shallow"] = made(tokens, text)
    state["prompt_learner.token_prefix"] = torch.zeros(5, 1, text)
    state["prompt_learner.token_suffix"] = torch.zeros(5, 76 - tokens, text)
    return {"state_dict": state, "epoch": 20, "val_result": None}


def inputs(folder):
    """Below a folder: student.pt, the folder teacher, teacher_model with both places, data with a split."""
    from tests.conftest import EUROSAT_FOLDERS, write_eurosat

    from modprompt.data.readers.eurosat import CLASS_NAMES  # isort: skip  # behind what finds a Dassl

    folder = Path(folder)
    student, teacher = clips(folder)
    torch.save(student, folder / "student.pt")
    (folder / "teacher").mkdir()
    torch.save(teacher, folder / "teacher" / "open_clip_pytorch_model.bin")
    (folder / "teacher" / "open_clip_config.json").write_text(json.dumps({"model_cfg": TEACHERS_CONFIG}))
    for place in PLACES:
        path = folder / "teacher_model" / place
        path.parent.mkdir(parents=True)
        torch.save(teacher_checkpoint(teacher), path)
    root = write_eurosat(folder / "data")

    def rows(numbers):
        return [
            [f"{one}/{one}_{number}.jpg", label, CLASS_NAMES[one]]
            for label, one in enumerate(EUROSAT_FOLDERS)
            for number in numbers
        ]

    split = {"train": rows(range(1, 6)), "val": rows(range(6, 8)), "test": rows(range(8, 13))}
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return folder


def record(checkout, case, folder):
    """Losses of all steps, and the right ones of each test, in order: validations, then the end."""
    modal, config, options = CASES[case]
    _on_a_cpu()
    words = "import sys; from tests.modprompt.methods.record_promptkd import inputs; inputs(sys.argv[1])"
    subprocess.run([sys.executable, "-c", words, folder], check=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    folder = Path(folder)
    found = {"losses": [], "correct": [], "next draw": None}
    os.chdir(folder)
    (folder / "clip").mkdir()
    for name, of in (("ViT-B-16", "student.pt"), ("ViT-L-14", "teacher/open_clip_pytorch_model.bin")):
        (folder / "clip" / f"{name}.pt").symlink_to(folder / of)
    sys.path.insert(0, str(Path(checkout).resolve()))
    import dassl.evaluation.evaluator as evaluators

    import trainers.promptkd as reference

    plain, step = reference.Feature_Trans_Module_two_layer.__init__, reference.PromptKD.forward_backward
    evaluate = evaluators.Classification.evaluate

    def stepped(trainer, batch):
        if found["next draw"] is None:
            state = torch.get_rng_state()
            found["next draw"] = float(torch.rand(()))
            torch.set_rng_state(state)
        summary = step(trainer, batch)
        found["losses"].append(round(summary["loss"], 6))
        return summary

    def evaluated(evaluator):
        found["correct"].append(int(evaluator._correct))
        return evaluate(evaluator)

    widths = 32, TEACHER["embed_dim"]
    reference.Feature_Trans_Module_two_layer.__init__ = lambda self, *_: plain(self, *widths)
    reference.PromptKD.forward_backward = stepped
    evaluators.Classification.evaluate = evaluated
    depth = str(DEPTH[case])
    sys.argv = [
        *("train.py", "--root", "data", "--seed", "1", "--trainer", "PromptKD", "--output-dir", "out"),
        *("--dataset-config-file", f"{checkout}/configs/datasets/eurosat.yaml"),
        *("--config-file", f"{checkout}/configs/trainers/PromptKD/{config}.yaml", *SETTINGS, *options),
        *("TRAINER.MODAL", modal, "TRAINER.PROMPTKD.PROMPT_DEPTH_VISION", depth),
        *("TRAINER.PROMPTKD.PROMPT_DEPTH_TEXT", depth),
    ]
    runpy.run_path(f"{checkout}/train.py", run_name="__main__")
    return found


def _on_a_cpu():
    from torch.optim import lr_scheduler

    class Wilds:
        get_dataset = None

    sys.modules["wilds"] = Wilds
    made, loaded = lr_scheduler.LRScheduler.__init__, torch.load

    def scheduler(self, optimizer, last_epoch=-1, verbose=None):
        made(self, optimizer, last_epoch)

    def no_archive(*args, **kwargs):
        raise RuntimeError("a state dict")

    lr_scheduler.LRScheduler.__init__ = scheduler
    torch.load = lambda *args, **kwargs: loaded(*args, **{**kwargs, "weights_only": False})
    torch.jit.load = no_archive
    torch.Tensor.half = torch.Tensor.cuda = lambda self, *args, **kwargs: self
    torch.nn.Module.half = torch.nn.Module.cuda = lambda self, *args, **kwargs: self


if __name__ == "__main__":
    checkout, case = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        found = record(str(Path(checkout).resolve()), case, folder)
        os.chdir(checkout)
    print(json.dumps(found, indent=1))
