"""What trainers of prompt-learning methods share: precision, one step, evaluation.

A method's own file gives its config node and its learner, and little else (see trainers/coop.py).
"""

import contextlib
import functools

import torch
import torch.nn.functional as F
from dassl.optim import build_optimizer
from dassl.utils import count_num_param
from torch import nn

from modprompt.checks import one_of
from modprompt.clips import build as backbone
from modprompt.clips.cast import cast_products
from modprompt.engine import precision
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.schedule import from_config
from modprompt.errors import UserError
from modprompt.learners.view import CheckpointView
from modprompt.runs.images import HELD_OUT, VALIDATION, images_hash, selected_on, training_images_hash
from modprompt.storage.text import sha256_of
from modprompt.trainers import training_state
from modprompt.trainers.clip_trainer import CLIPTrainer
from modprompt.trainers.learner_checkpoints import LearnerCheckpoints
from modprompt.trainers.nodes import registered_default
from modprompt.trainers.resuming import ResumableRun
from modprompt.training.lr_schedule import build_lr_scheduler


class PromptTrainer(ResumableRun, LearnerCheckpoints, CLIPTrainer):
    """Trains a prompt learner in front of a frozen CLIP.

    A subclass has a node_name and a method build_learner, and where they differ the attributes of LearnerCheckpoints.
    """

    node_name = ""  # the method's node under cfg.TRAINER
    model_class = PromptedCLIP

    def build_learner(self, clip_model: nn.Module, classnames) -> nn.Module:
        """The method's prompt learner.

        Raises:
            UserError: if a setting does not fit; the message begins with its name.
        """
        raise NotImplementedError

    @property
    def settings(self):
        """The method's node of the config."""
        return self.cfg.TRAINER[self.node_name]

    def require_vision_transformer(self, clip_model):
        """Raise UserError if the CLIP is a ResNet."""
        name = self.cfg.MODEL.BACKBONE.PATH or self.cfg.MODEL.BACKBONE.NAME
        backbone.require_vision_transformer(clip_model, name, type(self).__name__)

    def setting(self, key):
        """A setting of the method; its default where the codebase's own node does not have it."""
        return self.settings.get(key, registered_default(self.node_name, key))

    def written(self, side, layers, n_ctx, name="N_CTX"):
        """The schedule that SCHEDULE_TEXT or SCHEDULE_VISION writes out for a side's layers, or None.

        Raises:
            UserError: as from_config; layer 0 must add n_ctx tokens, the setting `name`.
        """
        key = f"SCHEDULE_{side.upper()}"
        steps = self.setting(key)
        try:
            return from_config(steps, layers, side, n_ctx, name) if steps else None
        except UserError as error:
            raise UserError(f"{key}: {error}") from None

    @contextlib.contextmanager
    def naming_the_node(self, node):
        """Complete setting names at the head of an error's message: N_CTX becomes TRAINER.COOP.N_CTX."""
        try:
            yield
        except UserError as error:
            if str(error).split(" ", 1)[0].rstrip(":") not in node:
                raise
            raise UserError(f"TRAINER.{self.node_name}.{error}") from None

    def schedules(self, text_layers, vision_layers):
        """The schedules of both sides, for a method that can tell them without a model; else None."""

    def check_cfg(self, cfg):
        """Complain about PREC, and the schedule of a CLIP whose layers are known, before any work is done."""
        self.cfg = cfg  # Dassl sets it behind this check
        with self.naming_the_node(self.settings):
            one_of("PREC", self.settings.PREC, precision.CHOICES)
            if not cfg.MODEL.BACKBONE.get("PATH") and cfg.MODEL.BACKBONE.NAME in backbone.LAYERS:
                self.schedules(*backbone.LAYERS[cfg.MODEL.BACKBONE.NAME])

    def build_model(self):
        """CLIP, learner, optimiser; only the learner is trained, saved and registered."""
        cfg = self.cfg
        self.precision = precision.resolve(self.settings.PREC, self.device)
        if self.precision.note:
            print(self.precision.note)
        self.clip_model = clip_model = self.load_clip()
        if not self.precision.half_weights:
            clip_model.float()
        with self.naming_the_node(self.settings):
            learner = self.build_learner(clip_model, self.dm.dataset.classnames)
        self._tell_of(learner)
        clip_model.requires_grad_(False)
        self.before_cast(clip_model.to(self.device))
        if self.precision.products is not None:
            cast_products(clip_model, self.precision.products)
        self.model = self.model_class(learner, clip_model, self.precision.stream).to(self.device)
        self.model.limit_text(cfg.MODEL.get("TEXT_CHUNK", 0))
        self.model.compile_encoders(cfg.MODEL.get("COMPILE", ""))
        view = CheckpointView(learner, functools.partial(self.checkpoint_key, learner))
        if cfg.MODEL.INIT_WEIGHTS:
            self._load(view, cfg.MODEL.INIT_WEIGHTS)
            self.init_weights_hash = sha256_of(cfg.MODEL.INIT_WEIGHTS)
            print(f"Loaded the initial prompts from {cfg.MODEL.INIT_WEIGHTS}")
        # the parameters themselves: OPTIM.STAGED_LR would drop those that stand in no child module
        self.optim = build_optimizer(list(learner.parameters()), self._optim_cfg())
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.scaler = precision.grad_scaler() if self.precision.scale_loss else None
        self.register_model(self.checkpoint_name, view, self.optim, self.sched)

    def before_cast(self, clip_model):
        """Hook: CLIP is on the device, its matrices not yet in the type that PREC gives them."""

    @staticmethod
    def _tell_of(learner):
        print(f'Initial context: "{learner.prefix}"')
        for schedule in learner.schedules:
            if schedule.depth:
                print(schedule.table())
        print(f"Parameters to be updated: {count_num_param(learner):,} in {len(list(learner.parameters()))} tensors")

    def _optim_cfg(self):
        optim_cfg = self.cfg.OPTIM.clone()
        optim_cfg.defrost()
        optim_cfg.STAGED_LR = False
        return optim_cfg

    def loss(self, output, image, label):
        """Loss of a batch: Output, images (B, 3, H, W), labels (B,)."""
        return F.cross_entropy(output.logits.float(), label)

    def summary(self, output, label, loss):
        """What the log says of a step, as numbers by name."""
        return {"loss": loss.item()}

    def forward_backward(self, batch):
        """One step on a batch.

        Raises:
            FloatingPointError: if the loss is not finite; no weight has changed by then.
        """
        image, label = self.parse_batch_train(batch)
        output = self.model.output(image)
        loss = self.loss(output, image, label)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at epoch {self.epoch + 1}, step {self.batch_idx + 1}: "
                "lower OPTIM.LR or use PREC fp32; the last checkpoint is untouched"
            )
        self._update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return self.summary(output, label, loss)

    def _update(self, loss):
        self.optim.zero_grad()
        if self.scaler is None:
            loss.backward()
            self.optim.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optim)
            self.scaler.update()

    def parse_batch_train(self, batch):
        """(images, labels) on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    @property
    def prompts_images(self):
        """Whether the learner has vision prompts."""
        return bool(self.model.prompt_learner.schedules.vision.depth)

    @torch.no_grad()
    def test(self, split=None, **kwargs):
        """Evaluate; class features are computed once."""
        self.set_model_mode("eval")
        with self.model.fixed_text():
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

    def resume_settings(self):
        """What must be the same for a run to be gone on with: the settings, the CLIP and the training images."""
        own = f"TRAINER.{self.node_name}."
        return {
            **{
                key: value
                for key, value in super().resume_settings().items()
                if key == "TRAINER.NAME" or not key.startswith("TRAINER.") or key.startswith(own)
            },
            "the weights of CLIP": self.backbone_fingerprint,
            "the training images": self.images_fingerprint,
            **self._chosen_by(),
        }

    def _chosen_by(self):
        """By which images a best epoch is chosen, where they are not the test images."""
        dataset = self.dm.dataset
        kind = selected_on(dataset, self.cfg)
        if kind not in (HELD_OUT, VALIDATION) or self.cfg.TEST.FINAL_MODEL != "best_val":
            return {}
        return {training_state.CHOSEN_BY: f"{kind} {images_hash(dataset.val, root=getattr(dataset, 'image_root', ''))}"}

    @functools.cached_property
    def images_fingerprint(self):
        """A hash that tells one list of training images from another, wherever they lie."""
        return training_images_hash(self.dm.dataset, self.cfg)

    def extra_state(self):
        """The loss scale."""
        return {} if self.scaler is None else {"scaler": self.scaler.state_dict()}

    def load_extra_state(self, extras):
        """Take back the loss scale."""
        if self.scaler is not None and "scaler" in extras:
            self.scaler.load_state_dict(extras["scaler"])
