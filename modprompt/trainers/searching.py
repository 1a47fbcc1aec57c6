"""A run that searches: alphas learn from validation images between the steps of the prompts; a schedule is left."""

import functools
from typing import Any, Dict, List, Mapping, Optional, Tuple

from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader

from modprompt.clip.byte_images import sent
from modprompt.engine import precision
from modprompt.engine.model import Output
from modprompt.errors import UserError
from modprompt.io import images
from modprompt.io.schema import Form, rows, table, whole
from modprompt.methods.parts.deferred_metrics import Number, settled
from modprompt.methods.parts.fused import fused
from modprompt.methods.parts.step import Step
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.learner import SearchLearner
from modprompt.methods.search.settings import BETAS, FIRST_BATCH, AlphaSettings
from modprompt.methods.search.validation import ValidationBatches
from modprompt.trainers import search_files
from modprompt.trainers.part import Part
from modprompt.trainers.state_form import like, optimiser_form, scaler_form

EXTRA = "search"  # in the state of a run


class SearchRun(Part):
    """The part of a trainer that alternates, if its method searches: alphas by Adam, then prompts by SGD.

    First order (DPL, arXiv 2501.00457, section 3): no step looks through the other.

    Attributes:
        record: what result.json says of it.
    """

    record: Optional[Dict[str, Any]] = None
    _history: List[Dict[str, Tensor]]  # alphas of each searched side after each epoch, those drawn first

    def begin(self) -> None:
        """Write the alphas that were drawn.

        Raises:
            UserError: if the alphas of earlier epochs are not there, because a run was resumed without its state.
        """
        if self.settings is None:
            return
        if self.trainer.start_epoch == 0:
            self._write_alphas(0)
        elif self.cfg.OUTPUT_DIR:
            search_files.require_alphas(self.cfg.OUTPUT_DIR, self.trainer.start_epoch)

    @property
    def settings(self) -> Optional[AlphaSettings]:
        """How, if the method searches."""
        return self.method.search

    @property
    def _learner(self) -> SearchLearner:
        learner = self.model.prompt_learner
        assert isinstance(learner, SearchLearner)
        return learner

    def check(self) -> None:
        """Complain about what does not go with a search."""
        cfg = self.cfg
        if self.settings is None:
            return
        for key, value in (("FINAL_MODEL", "best_val"), ("SPLIT", "val")):
            if cfg.TEST[key] == value and not getattr(cfg.TEST, "ONLY", False):
                raise UserError(f"TEST.{key} {value}: the alphas of a search have seen the validation images")
        if cfg.MODEL.COMPILE == "graph":
            raise UserError("MODEL.COMPILE graph: a search's steps alternate, and are not recorded; leave it out")

    def prepare(self) -> None:
        """Look at the images of the alphas, and whether there is anything to find.

        Raises:
            UserError: if there are no validation images but those of the test, or no schedule has so few tokens.
        """
        if self.settings is None:
            return
        try:
            self.model.found()
        except UserError as error:
            raise UserError(f"MOST_TOKENS {self.settings.most_tokens}: {error}") from None
        self._print_options()
        if getattr(self.cfg.TEST, "ONLY", False):
            return
        self._require_validation()
        self._history = [self._learner.alphas_now()]

    def _require_validation(self) -> None:
        dataset, name = self.trainer.dm.dataset, self.cfg.DATASET.NAME
        held_out = getattr(dataset, "selected_on", "") == images.HELD_OUT
        if self.trainer.val_loader is None or not (held_out or images.own_validation(dataset)):
            raise UserError(
                f"{name} has no validation images to search by, and a search must not see test "
                "images: leave DATASET.VAL_FROM_TEST False, and DATASET.NUM_SHOTS low enough that some are held out"
            )
        shared = {image.impath for image in dataset.val} & {image.impath for image in dataset.test}
        if shared:
            raise UserError(
                f"{len(shared)} validation images of {name} are test images too: a search must not see them"
            )
        print(f"The alphas see {len(dataset.val)} {images.HELD_OUT if held_out else images.VALIDATION} images")

    def _print_options(self) -> None:
        for side in schedule_file.SIDES:
            if side in self._learner.options:
                most = max(self._learner.options[side], key=len)
                print(f"{side} side: {len(most)} options a layer: {search_files.shown(most)}")

    def _write_alphas(self, epoch: int) -> None:
        if self.cfg.OUTPUT_DIR:
            npy = bool(getattr(self.method, "write_npy", False))
            search_files.write_alphas(self.cfg.OUTPUT_DIR, epoch, self._learner, self._history[epoch], npy)

    @functools.cached_property
    def _alpha_step(self) -> Step:
        assert self.settings is not None
        optimiser: Optimizer = Adam(self.model.alpha_parameters(), lr=self.settings.alpha_lr, betas=BETAS)
        scaler = precision.grad_scaler() if self.run.precision.scale_loss else None
        return Step(self._output_and_alpha_loss, optimiser if scaler is None else fused(optimiser), scaler, alone=True)

    @functools.cached_property
    def _validation(self) -> ValidationBatches:
        assert self.settings is not None
        theirs = self.trainer.val_loader
        size = self.settings.alpha_batch  # a test's own size decides no number of a search
        pinned, workers = theirs.pin_memory, theirs.num_workers
        loader = DataLoader(theirs.dataset, batch_size=size, num_workers=workers, pin_memory=pinned)
        return ValidationBatches(sent(loader, self.trainer.device), self.settings.alpha_data == FIRST_BATCH)

    def _output_and_alpha_loss(self, image: Tensor, label: Tensor) -> Tuple[Output, Tensor]:
        output, loss = self.trainer.loop.output_and_loss(image, label)
        return output, self.model.with_tokens(loss)

    def step(self) -> Mapping[str, Number]:
        """A step of the alphas on a validation batch; what the log says of it."""
        if self.settings is None:
            return {}
        done = self._alpha_step(*self.trainer.parse_batch_train(next(self._validation)))
        self.trainer.loop.unread.add_loss(done.loss, self.trainer.loop.place())
        return {"loss_val": settled(done.loss)}

    def end_epoch(self) -> None:
        """Write the alphas."""
        if self.settings is not None:
            self._history.append(self._learner.alphas_now())
            self._write_alphas(self.trainer.epoch + 1)

    def end(self) -> None:
        """Leave what was found, and test it with the search's prompts; then test the mixture as every run is tested."""
        if self.settings is not None:
            found = self.model.found()
            for one in found.values():
                print(f"{one.schedule.table()}\n{search_files.margins_line(one)}")
            if self.cfg.OUTPUT_DIR:
                search_files.write_found(self.cfg, self._learner, found, self._seen())
            self.record = {"validation": self._seen(), **search_files.record_of(found)}
            if not self.cfg.TEST.NO_TEST:
                print("What was found, with the prompts of the search:")
                with self._learner.decided({side: one.path for side, one in found.items()}):
                    self.record["path_pct"] = self.trainer.test()
                print("The mixture of all options:")

    def _seen(self) -> str:
        return str(getattr(self.trainer.dm.dataset, "selected_on", "") or images.VALIDATION)

    def state(self) -> Dict[str, Any]:
        """What must be remembered to go on."""
        if self.settings is None:
            return {}
        scaler = self._alpha_step.scaler
        state: Dict[str, Any] = {
            "optimiser": self._alpha_step.optimiser.state_dict(),
            "taken": self._validation.taken,
            "history": self._history,
        }
        return {EXTRA: {**state, **({} if scaler is None else {"scaler": scaler.state_dict()})}}

    def form(self, epoch: int) -> Dict[str, Form]:
        """What state gives behind so many epochs."""
        if self.settings is None:
            return {}
        step, batches = self._alpha_step, len(self._validation.loader)
        required = {
            "optimiser": optimiser_form(step.optimiser),
            "taken": whole(0, batches),
            "history": rows(like(self._learner.alphas_now()), epoch + 1),
        }
        scaler = {} if step.scaler is None else {"scaler": scaler_form(step.scaler.state_dict())}
        return {EXTRA: table(required, scaler)}

    def load_state(self, extras: Mapping[str, Any]) -> None:
        """Take back what state gave, of the form that form says."""
        if self.settings is None:
            return
        state = extras[EXTRA]
        self._alpha_step.optimiser.load_state_dict(state["optimiser"])
        if self._alpha_step.scaler is not None and "scaler" in state:
            self._alpha_step.scaler.load_state_dict(state["scaler"])
        self._validation.go_on(state["taken"])
        self._history = list(state["history"])
        for epoch in range(len(self._history)):
            self._write_alphas(epoch)
