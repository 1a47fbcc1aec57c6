"""What trainers of prompt-learning methods share: loading CLIP, precision, one step, checkpoints, evaluation.

A method's own file gives a node of the config, a learner, and little else (see trainers/mpl.py).
"""

import functools
import hashlib
import os
import warnings

import torch
import torch.nn.functional as F
from dassl.engine import TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import count_num_param, save_checkpoint
from torch import nn

from modprompt import backbone, precision
from modprompt.checkpoint import load_learner
from modprompt.errors import UserError
from modprompt.model import PromptedCLIP
from modprompt.plugin.config import CLIP_MEAN, CLIP_STD


def warn_of_pixel_statistics(cfg) -> None:
    """Warn if images are not normalised as CLIP was trained: usually a sign of a missing --config-file."""
    given = [*cfg.INPUT.PIXEL_MEAN, *cfg.INPUT.PIXEL_STD]
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        warnings.warn("INPUT.TRANSFORMS has no 'normalize': CLIP expects normalised images", stacklevel=2)
    elif any(abs(a - b) > 1e-3 for a, b in zip(given, [*CLIP_MEAN, *CLIP_STD])):
        warnings.warn(
            "INPUT.PIXEL_MEAN and PIXEL_STD are not CLIP's (0.481 0.458 0.408, 0.269 0.261 0.276): "
            "is the trainer's --config-file missing?",
            stacklevel=2,
        )


class CLIPTrainer(TrainerX):
    """A trainer around a CLIP: loads it by name or path, checks the image size."""

    def load_clip(self) -> nn.Module:
        """The CLIP that the config names, checked against INPUT.SIZE."""
        cfg = self.cfg
        warn_of_pixel_statistics(cfg)
        path = cfg.MODEL.BACKBONE.PATH
        print(f"Loading CLIP (backbone: {path or cfg.MODEL.BACKBONE.NAME})")
        clip_model = backbone.load_clip(cfg.MODEL.BACKBONE.NAME, path)
        backbone.require_input_size(clip_model, *cfg.INPUT.SIZE)
        self.backbone_fingerprint = backbone.fingerprint(clip_model)
        return clip_model

    def model_inference(self, input):
        """Logits (B, C) of a test batch.

        Raises:
            FloatingPointError: if they are not finite: there is no prediction in them.
        """
        logits = self.logits(input)
        if not torch.isfinite(logits).all():
            raise FloatingPointError("the logits are not finite: the checkpoint or the CLIP weights are damaged")
        return logits

    def logits(self, image):
        """Logits (B, C) of images (B, 3, H, W)."""
        return self.model(image)


class PromptTrainer(CLIPTrainer):
    """Trains a prompt learner in front of a frozen CLIP.

    A subclass names its checkpoint folder and gives four methods: settings, build_learner, describe and, if its loss
    is not plain cross entropy, loss.
    """

    checkpoint_name = "prompt_learner"

    def settings(self, cfg):
        """The method's node of the config; it has at least PREC."""
        raise NotImplementedError

    def build_learner(self, clip_model: nn.Module) -> nn.Module:
        """The method's prompt learner for the classes of the data set."""
        raise NotImplementedError

    def describe(self, state_dict):
        """The method's settings that show in its state dict, for messages."""
        return {}

    def loss(self, logits, labels):
        """Loss of a batch: logits (B, C), labels (B,)."""
        return F.cross_entropy(logits.float(), labels)

    def check_cfg(self, cfg):
        """Complain about PREC before any work is done."""
        precision.resolve(self.settings(cfg).PREC, torch.device("cpu"))

    def build_model(self):
        """CLIP, learner, optimiser; only the learner is trained, saved and registered."""
        cfg = self.cfg
        self.precision = precision.resolve(self.settings(cfg).PREC, self.device)
        if self.precision.note:
            print(self.precision.note)
        clip_model = self.load_clip()
        if not self.precision.half_weights:
            clip_model.float()
        learner = self.build_learner(clip_model)
        self.model = PromptedCLIP(learner, clip_model).to(self.device)
        print(f"Parameters to be updated: {count_num_param(learner):,} in {len(list(learner.parameters()))} tensors")
        if cfg.MODEL.INIT_WEIGHTS:
            load_learner(learner, cfg.MODEL.INIT_WEIGHTS, self.describe, self.made_with())
            print(f"Loaded the initial prompts from {cfg.MODEL.INIT_WEIGHTS}")
        # the parameters themselves: OPTIM.STAGED_LR would drop those that stand in no child module
        self.optim = build_optimizer(list(learner.parameters()), self._optim_cfg())
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.scaler = precision.grad_scaler() if self.precision.scale_loss else None
        self.register_model(self.checkpoint_name, nn.ModuleDict({"prompt_learner": learner}), self.optim, self.sched)

    def _optim_cfg(self):
        optim_cfg = self.cfg.OPTIM.clone()
        optim_cfg.defrost()
        optim_cfg.STAGED_LR = False
        return optim_cfg

    def forward_backward(self, batch):
        """One step on a batch.

        Raises:
            FloatingPointError: if the loss is not finite; no weight has changed by then.
        """
        image, label = self.parse_batch_train(batch)
        with self.precision.context(self.device):
            loss = self.loss(self.model(image), label)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at epoch {self.epoch + 1}, step {self.batch_idx + 1}: "
                "lower OPTIM.LR or use PREC fp32; the last checkpoint is untouched"
            )
        self.optim.zero_grad()
        if self.scaler is None:
            loss.backward()
            self.optim.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optim)
            self.scaler.update()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}

    def parse_batch_train(self, batch):
        """(images, labels) on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    @torch.no_grad()
    def test(self, split=None, **kwargs):
        """Evaluate; class features are computed once."""
        self.set_model_mode("eval")
        with self.precision.context(self.device), self.model.fixed_text():
            return super().test(split)

    def after_epoch(self):
        """Save and validate as asked for, unless the last step spoilt the prompts.

        Raises:
            FloatingPointError: if a parameter is not finite; nothing is saved then.
        """
        if not all(torch.isfinite(parameter).all() for parameter in self.model.prompt_learner.parameters()):
            raise FloatingPointError(
                f"the prompts are not finite after epoch {self.epoch + 1}: start anew in another --output-dir "
                "with a lower OPTIM.LR or PREC fp32; the last checkpoint is untouched"
            )
        super().after_epoch()

    def made_with(self):
        """What a checkpoint of this run fits only with: the method's settings and the CLIP, as {name: text}."""
        node = {key: str(value) for key, value in self.settings(self.cfg).items() if key != "PREC"}
        return {
            **{f"TRAINER.{self.cfg.TRAINER.NAME.upper()}.{key}": value for key, value in node.items()},
            "the weights of CLIP": self.backbone_fingerprint,
        }

    def resume_settings(self):
        """What must be the same for a run to be gone on with: the settings, the CLIP and the training images."""
        return {
            **super().resume_settings(),
            "the weights of CLIP": self.backbone_fingerprint,
            "the training images": self.images_fingerprint,
        }

    @functools.cached_property
    def images_fingerprint(self):
        """Twelve hex digits that tell one list of training images from another, wherever they lie."""
        images = "".join(f"{os.path.basename(image.impath)} {image.label} " for image in self.dm.dataset.train_x)
        return hashlib.sha256(images.encode()).hexdigest()[:12]

    def extra_state(self):
        """The loss scale."""
        return {} if self.scaler is None else {"scaler": self.scaler.state_dict()}

    def load_extra_state(self, extras):
        """Take back the loss scale."""
        if self.scaler is not None and "scaler" in extras:
            self.scaler.load_state_dict(extras["scaler"])

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """Save the learner alone, without the optimiser: what is needed to use it."""
        settings = self.resume_settings() if hasattr(TrainerX, "resume_settings") else {}
        for name in self.get_model_names():
            state = {
                "state_dict": self._models[name].state_dict(),
                "epoch": epoch + 1,
                "val_result": None if val_result is None else float(val_result),
                "made_with": self.made_with(),
                "settings": settings,
            }
            save_checkpoint(state, os.path.join(directory, name), is_best=is_best, model_name=model_name)

    def load_model(self, directory, epoch=None):
        """Load a checkpoint of this trainer, ours or the reference's, from a run's output folder.

        Args:
            directory: the output folder of a run.
            epoch: which epoch's; without it model-best.pth.tar, or if there is none the newest.

        Raises:
            UserError: if there is none or it does not fit.
        """
        if not directory:
            raise UserError(
                f"{type(self).__name__}: --eval-only needs --model-dir, the output folder of a training run "
                "(MODEL.INIT_WEIGHTS names a single file)"
            )
        for name in self.get_model_names():
            path = self._checkpoint_path(os.path.join(directory, name), epoch)
            found = load_learner(self._models[name]["prompt_learner"], path, self.describe, self.made_with())
            print(f'Loading weights to {name} from "{path}" (epoch = {found})')

    @staticmethod
    def _checkpoint_path(folder, epoch):
        if not os.path.isdir(folder):
            raise UserError(f"no checkpoint: there is no folder {folder}; check --model-dir and train first")
        names = sorted(name for name in os.listdir(folder) if name.startswith("model") and not name.endswith(".part"))
        wanted = "model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}"
        pointer = os.path.join(folder, "checkpoint")
        if epoch is None and wanted not in names and os.path.isfile(pointer):
            with open(pointer, encoding="utf-8", errors="replace") as file:
                wanted = file.readline().strip() or wanted
        if wanted not in names:
            raise UserError(f"no {wanted} in {folder}; there is: {', '.join(names) or 'nothing'}; see --load-epoch")
        return os.path.join(folder, wanted)
