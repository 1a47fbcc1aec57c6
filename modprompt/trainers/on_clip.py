"""A method on the CLIP of a run, computed as its settings ask, and the optimiser of what it learns."""

from typing import TYPE_CHECKING, Any, Sequence

import torch
from dassl.optim import build_optimizer

from modprompt.clips.cast import cast_products
from modprompt.clips.facts import look_at
from modprompt.engine import precision
from modprompt.errors import SettingError
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.lr_schedule import build_lr_scheduler
from modprompt.storage.text import sha256_of
from modprompt.trainers import mistakes, text_chunk

if TYPE_CHECKING:  # it stands in front of one
    from modprompt.trainers.clip_trainer import CLIPTrainer as _Trainer
else:
    _Trainer = object


class OnCLIP(_Trainer):
    """The part of a trainer that puts its method on CLIP; it stands in front of TrainerX."""

    method: Method
    model: PromptedModel
    notes: Sequence[str] = ()  # what a result says of the training, beside its settings

    def put_on_clip(self) -> None:
        """Load CLIP and put the method on it, computed as PREC has it."""
        cfg = self.cfg
        self.precision = precision.resolve(self.settings.PREC, self.device)
        if self.precision.note:
            print(self.precision.note)
        self.clip_model = clip_model = self.load_clip()
        if self.precision.half_weights:
            cast_products(clip_model, torch.float16)  # of weights that were saved in float32
        else:
            clip_model.float()
        names, dataset, epochs = self.dm.dataset.classnames, cfg.DATASET.NAME, cfg.OPTIM.MAX_EPOCH
        which = getattr(self.dm.dataset, "which", ())  # of readers of this project
        try:
            self.model = self.method.on(clip_model, names, dataset=dataset, epochs=epochs, listed=True, which=which)
        except SettingError as error:
            raise error.under(f"TRAINER.{self.node_name}") from None
        self.model.to(self.device).cast(self.settings.PREC)
        look_at(clip_model)
        text_chunk.decide(self.model, cfg)
        self.model.compile_encoders(cfg.MODEL.get("COMPILE", ""))

    def load_initial(self, view: Any) -> None:
        """Load what MODEL.INIT_WEIGHTS names into what is trained."""
        path = self.cfg.MODEL.INIT_WEIGHTS
        self._load(view, path)
        self.init_weights_hash = sha256_of(path)
        print(f"Loaded the initial prompts from {path}")

    def configured_optimiser(self) -> Any:
        """The optimiser that OPTIM and the method ask for, of all that is trained."""
        optim_cfg = self.cfg.OPTIM.clone()
        if optim_cfg.STAGED_LR:  # it would drop parameters that stand in no child module
            print("OPTIM.STAGED_LR True is not used: all that is trained has the rate of OPTIM.LR")
            optim_cfg.defrost()
            optim_cfg.STAGED_LR = False
        with mistakes.of_settings("OPTIM"):
            optimiser = build_optimizer(self.model.prompt_parameters(), optim_cfg)
        self._set_up(optimiser)
        return optimiser

    def configured_schedule(self, optimiser: Any) -> Any:
        """The rates that OPTIM asks for, by epoch; a run that ends within the warm-up says so."""
        optim, epochs = self.cfg.OPTIM, self.max_epoch
        if 0 < epochs <= optim.WARMUP_EPOCH and not self.cfg.TEST.get("ONLY", False):
            constant = optim.WARMUP_TYPE == "constant"
            rate = f"at {optim.WARMUP_CONS_LR:g}" if constant else f"from {optim.WARMUP_MIN_LR:g} up"
            self.notes = [f"{'the one epoch is' if epochs == 1 else f'all {epochs} epochs are'} warm-up {rate}"]
            print(f"note: {self.notes[0]} (OPTIM.WARMUP_EPOCH {optim.WARMUP_EPOCH})")
        return build_lr_scheduler(optimiser, optim)

    def _set_up(self, optimiser: Any) -> None:
        """Give the optimiser what the method says beside OPTIM; a line tells what it has no use for."""
        for name, value in self.method.optimiser_settings().items():
            if name not in optimiser.defaults:
                print(f"{name} {value} is not used: OPTIM.NAME {self.cfg.OPTIM.NAME} has none")
            for group in optimiser.param_groups if name in optimiser.defaults else ():
                group[name] = value
