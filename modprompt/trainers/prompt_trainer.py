"""The trainer of all methods that learn prompts: settings, one step, evaluation. It knows no method by name."""

import warnings
from typing import Any, List, Mapping, Optional, Tuple, Type, Union

import torch
from dassl.metrics import compute_accuracy
from torch import Tensor

from modprompt.checks import one_of
from modprompt.clips import known
from modprompt.engine import precision
from modprompt.engine.model import COMPILE, Output
from modprompt.engine.schedule import Shape
from modprompt.errors import SettingError, UserError
from modprompt.methods.base import Method
from modprompt.methods.parts.deferred_metrics import Number, Place, settled
from modprompt.methods.parts.fused import fused
from modprompt.methods.parts.graph import GraphStep
from modprompt.methods.parts.step import Step
from modprompt.methods.records import view_of
from modprompt.trainers.clip_trainer import CLIPTrainer
from modprompt.trainers.compiling import is_of, step_as_asked
from modprompt.trainers.epochs import Epochs
from modprompt.trainers.gone_on_with import GoneOnWith
from modprompt.trainers.learner_checkpoints import LearnerCheckpoints
from modprompt.trainers.nodes import method_of, searched
from modprompt.trainers.on_clip import OnCLIP
from modprompt.trainers.second_node import require_stood_in
from modprompt.trainers.telling import tell_of


class PromptTrainer(GoneOnWith, LearnerCheckpoints, Epochs, OnCLIP, CLIPTrainer):
    """Trains a method's prompts in front of a frozen CLIP.

    A trainer is this class with a method_class (trainers/registration.py makes them).
    """

    method_class: Type[Method]
    made_step: Optional[Union[Step, GraphStep]] = None  # from the first batch on
    same_step = False  # whether its step is the same at every epoch, stated by each class for itself
    node_name = ""  # the method's node under cfg.TRAINER

    @property
    def settings(self) -> Any:
        """The method's node of the config."""
        return self.cfg.TRAINER[self.node_name]

    def make_method(self) -> Method:
        """The method that the config asks for.

        Raises:
            SettingError: on a setting that does not fit.
        """
        return method_of(self.method_class, self.settings)

    def check_cfg(self, cfg: Any) -> None:
        """Complain about settings, and the schedule of a CLIP whose layers are known, before any work is done."""
        self.cfg = cfg  # Dassl sets it behind this check
        if not hasattr(self, "method_class"):  # as trainers were written for 0.1.0
            raise UserError(f"{type(self).__name__} has no method_class: docs/own_trainer.md has how one is written")
        one_of("MODEL.COMPILE", cfg.MODEL.get("COMPILE", ""), COMPILE)
        if self.method_class.second_node is not None:
            require_stood_in(cfg, self.method_class.second_node)
        try:
            one_of("PREC", self.settings.PREC, precision.CHOICES)
            self.method = self.make_method().prepared()
        except SettingError as error:
            raise error.under(f"TRAINER.{self.node_name}") from None
        self.method = searched(self.method, cfg)
        self.check_search(cfg)
        try:
            row = None if cfg.MODEL.BACKBONE.get("PATH") else known.find(cfg.MODEL.BACKBONE.NAME)
            if row is not None and row.layers[1]:
                self.method.sides(Shape(*row.layers))
        except SettingError as error:
            raise error.under(f"TRAINER.{self.node_name}") from None
        if self.method.averages() and cfg.TEST.FINAL_MODEL == "best_val":
            warnings.warn(
                "the average over epochs (GPA) is not what is tested: FINAL_MODEL best_val takes one epoch's prompts",
                stacklevel=2,
            )

    def build_model(self) -> None:
        """CLIP, prompts, optimiser; only the prompts are trained, saved and registered."""
        cfg = self.cfg
        self.put_on_clip()
        learner = self.model.prompt_learner
        tell_of(learner, self.method.draws_examples)
        view = view_of(self.method, learner)
        if cfg.MODEL.INIT_WEIGHTS:
            self.load_initial(view)
        optimiser = self.configured_optimiser()
        self.scaler = precision.grad_scaler() if self.precision.scale_loss else None
        self.optim = optimiser if self.scaler is None else fused(optimiser)
        self.sched = self.configured_schedule(self.optim)
        self.register_model(self.checkpoint_name, view, self.optim, self.sched)
        self.start_search()

    def before_train(self) -> None:
        """Resume.

        Raises:
            UserError: if earlier epochs are not in the average, because a run was resumed without its state.
        """
        super().before_train()
        average = self.model.average
        if self.start_epoch < self.max_epoch and average is not None and average.epochs != self.start_epoch:
            raise UserError(
                f"the average over epochs (GPA) lacks epochs 1 to {self.start_epoch}: this run would go on from a "
                "checkpoint, which does not hold it; start anew in another --output-dir, or set GPA_STD 0"
            )

    def set_model_mode(self, mode: str = "train", names: Optional[List[str]] = None) -> None:
        """Set the mode of the prompts and of the model around them."""
        super().set_model_mode(mode, names)
        self.model.set_mode(mode == "train")

    def summary(self, output: Output, label: Tensor, loss: Tensor) -> Mapping[str, Number]:
        """What the log says of a step, by name: numbers, or tensors that are read later; accuracy in percent."""
        accuracy = {"acc": settled(compute_accuracy(output.logits, label)[0])} if self.method.log_accuracy else {}
        return {**{name: settled(value) for name, value in self.model.log(output, label, loss).items()}, **accuracy}

    def forward_backward(self, batch: Any) -> Mapping[str, Number]:
        """One step on a batch; what the log says of it.

        Raises:
            FloatingPointError: on a CPU, if the loss is not finite; no weight has changed by then.
        """
        of_search = self.search_step()
        image, label = self.parse_batch_train(batch)
        done = self.step(image, label)
        self.unread.add_loss(done.loss, self._place())
        self.end_step()
        return {**of_search, **self.summary(done.output, label, done.loss)}

    def end_step(self) -> None:
        """Go on with the rates behind an epoch's last step."""
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()

    def _place(self) -> Place:
        return Place(self.epoch, self.batch_idx)

    @property
    def step(self) -> Union[Step, GraphStep]:
        """What a batch goes through; made anew when another optimiser or scaler has taken the place of the last."""
        if self.made_step is None or not is_of(self.made_step, self.optim, self.scaler):
            step = Step(self._output_and_loss, self.optim, self.scaler, alone=self.searches is not None)
            self.made_step = step_as_asked(self, step)
        return self.made_step

    def output(self, image: Tensor) -> Output:
        """What the model makes of a training batch, images (B, 3, H, W)."""
        return self.model.output(image)

    def _output_and_loss(self, image: Tensor, label: Tensor) -> Tuple[Output, Tensor]:
        output = self.output(image)
        loss = self.model.objective.loss(output, image, label)
        self.unread.check(loss, self._place())
        return output, loss

    @property
    def prompts_images(self) -> bool:
        """Whether the learner has vision prompts."""
        return bool(self.model.prompt_learner.schedules.vision.depth)

    def after_epoch(self) -> None:
        """Do what the method does, save and validate as asked for, unless the last step spoilt the prompts.

        Raises:
            FloatingPointError: if a parameter, or a loss that was not read yet, is not finite; nothing is saved then.
        """
        self.unread.read()
        if self.model.end_epoch():
            print("Using GPA model for final inference...")
        finite = [torch.isfinite(parameter).all() for parameter in self.model.learned.parameters()]
        if not torch.stack(finite).all():
            raise FloatingPointError(
                f"the prompts are not finite after epoch {self.epoch + 1}: start anew in another --output-dir "
                "with a lower OPTIM.LR or PREC fp32; the last checkpoint is untouched"
            )
        super().after_epoch()
