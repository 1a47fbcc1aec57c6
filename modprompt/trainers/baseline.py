"""Zero-shot CLIP on the test images of a training run, for the line that `modprompt train` prints before it trains."""

import shlex
import warnings
from typing import Any

import torch
from tqdm import tqdm

from modprompt.clip.towers import CLIP
from modprompt.data.reader_facts import reader_facts
from modprompt.engine.precision import require_finite
from modprompt.io.settings import texts_of
from modprompt.methods.model import PromptedModel
from modprompt.methods.zeroshot import ZeroshotCLIP
from modprompt.trainers import backbone
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.training_state import generators_kept

MOST_IMAGES = 10_000  # with more test images the line names a command instead
_SAME = (  # settings of a test of zero-shot CLIP on the same test images
    "DATASET.NAME", "DATASET.ROOT", "DATASET.SUBSAMPLE_CLASSES", "TEST.SPLIT", "MODEL.BACKBONE.NAME",
    "MODEL.BACKBONE.PATH", "MODEL.BACKBONE.ACTIVATION", "MODEL.BACKBONE.HEADS", "MODEL.BACKBONE.MODEL",
)  # fmt: skip


def line(trainer: Any) -> str:
    """Return a line for the log with the accuracy of zero-shot CLIP on the test images.

    No random generator moves. The text is empty if the run tests nothing, if the trainer is not one of this project's,
    or if the trainer itself tests zero-shot CLIP.

    Raises:
        FloatingPointError: if a logit is not finite.
    """
    if not isinstance(trainer, PromptTrainer) or not trainer.learns or trainer.cfg.TEST.NO_TEST:
        return ""
    if not reader_facts(trainer.dm.dataset).has_test:
        return ""
    on_val = trainer.cfg.TEST.SPLIT == "val" and trainer.val_loader is not None
    loader = trainer.val_loader if on_val else trainer.test_loader
    images = len(loader.dataset.data_source)
    if images > MOST_IMAGES:
        return (
            f"Zero-shot CLIP was not tested because the data set has {images:,} test images, more than the limit of "
            f"{MOST_IMAGES:,}. To test zero-shot CLIP, run: {_command(trainer.cfg)}"
        )
    return f"Accuracy of zero-shot CLIP on the test images: {_accuracy_pct(trainer, loader):.1f}%"


def zero_shot_model(trainer: PromptTrainer, clip_model: CLIP) -> PromptedModel:
    """Return zero-shot CLIP for the classes of a trainer, in eval mode on the trainer's device."""
    cfg, names = trainer.cfg, trainer.dm.dataset.classnames
    model = ZeroshotCLIP().on(clip_model, names, dataset=cfg.DATASET.NAME, listed=True)
    model.to(trainer.device).eval().limit_text(cfg.MODEL.TEXT_CHUNK)
    return model


@torch.no_grad()
def _accuracy_pct(trainer: PromptTrainer, loader: Any) -> float:
    """Return the accuracy of zero-shot CLIP on the images of a loader, in percent."""
    correct = images = 0
    with generators_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the trainer's own model has warned of the same class names
        is_rounded = trainer.node.PREC not in ("fp16", "fp32")
        clip_model = backbone.load_clip(trainer.cfg).float() if is_rounded else trainer.clip_model
        model = zero_shot_model(trainer, clip_model)
        with model.unchanging():
            for batch in tqdm(loader, desc="testing zero-shot CLIP", disable=None):
                inputs, labels = trainer.parse_batch_test(batch)
                logits, labels = trainer.counted(trainer.cfg.TEST.SPLIT, model(inputs), labels)
                require_finite(logits)
                correct += int((logits.argmax(1) == labels).sum())
                images += len(labels)
    return 100 * correct / images


def _command(cfg: Any) -> str:
    """Return the command that tests zero-shot CLIP on the test images of a configuration."""
    texts = texts_of(cfg)
    pairs = [(key, texts[key]) for key in _SAME if texts[key] not in ("", "[]")]
    return shlex.join(["modprompt", "train", "--trainer", "ZeroshotCLIP", *(word for pair in pairs for word in pair)])
