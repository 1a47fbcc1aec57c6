"""A student, a teacher and a data tree for PromptKD: those on which its repository was recorded (test_promptkd.py).

That was github.com/zhengli97/PromptKD at ec244f7 with KaiyangZhou's Dassl on a CPU: its train.py in `inputs`' folder,
with the words of test_promptkd.words and USE_CUDA False. In that process clip._download gave student.pt and the teacher's
weights, `.half()` and `.cuda()` did nothing, torch.jit.load raised, torch.load had weights_only False, `wilds` was empty,
and the projection's literal widths 512 and 768 were the CLIPs' 32 and 48.
"""

import json
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


def clips():
    """(student, teacher): state dicts of random CLIPs."""
    from tests.conftest import published, random_clip

    return published(random_clip(1, **STUDENT)), published(random_clip(2, **TEACHER))


def teacher_checkpoint(teacher, depth=3):
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
    state["prompt_learner.ctx"] = made(4, text)
    state["image_encoder.VPT"] = made(4, vision)
    for layer in range(1, depth):
        state[f"image_encoder.transformer.resblocks.{layer}.VPT_shallow"] = made(4, vision)
        state[f"text_encoder.transformer.resblocks.{layer}.VPT_shallow"] = made(4, text)
    state["prompt_learner.token_prefix"] = torch.zeros(5, 1, text)
    state["prompt_learner.token_suffix"] = torch.zeros(5, 72, text)
    return {"state_dict": state, "epoch": 20, "val_result": None}


def write_teacher(folder):
    """A teacher's CLIP with its config beside it."""
    _, teacher = clips()
    torch.save(teacher, folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TEACHERS_CONFIG}))


def inputs(folder):
    """Below a folder: student.pt, the folder teacher, teacher_model with both places, data with a split."""
    from tests.modprompt.methods.reference_runs import write_split

    folder = Path(folder)
    student, teacher = clips()
    torch.save(student, folder / "student.pt")
    (folder / "teacher").mkdir()
    write_teacher(folder / "teacher")
    for place in PLACES:
        path = folder / "teacher_model" / place
        path.parent.mkdir(parents=True)
        torch.save(teacher_checkpoint(teacher), path)
    write_split(folder / "data", range(1, 6), range(6, 8), range(8, 13))
    return folder
