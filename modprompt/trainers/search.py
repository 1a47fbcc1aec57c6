"""The search for a schedule during a training run: the alphas are trained on validation images."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader

from modprompt.data.reader_facts import own_validation, reader_facts, shots_of
from modprompt.engine import precision
from modprompt.errors import UserError
from modprompt.io.result import HELD_OUT, VALIDATION
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.file import ALL, Option, SideOfSearch
from modprompt.methods.search.learners import Found, SearchLearner
from modprompt.methods.search.space import BETAS, FIRST_BATCH, AlphaSettings
from modprompt.trainers.unread import Number

EXTRA = "search"  # key in the state of a run, and in its result


def shown(options: Sequence[Option]) -> str:
    """Return the options of a search as a string: every removal with every addition."""
    numbers = sorted({remove for remove, _ in options} - {ALL})
    removes = f"{numbers[0]} to {numbers[-1]}" if numbers else ""
    whole = "all" if any(remove == ALL for remove, _ in options) else ""
    return f"remove {' or '.join(filter(None, (removes, whole)))}, add 0 to {max(add for _, add in options)}"


def _of_search(found: Found, history: Sequence[Tensor]) -> SideOfSearch:
    """Return the search result of one encoder: the alphas (layers, options) after each epoch, for result.json."""
    values = tuple(
        tuple(tuple(row[: len(there)]) for row, there in zip(epoch.tolist(), found.options)) for epoch in history
    )
    steps: tuple[Option, ...] = tuple((step.remove, step.add) for step in found.schedule)
    return SideOfSearch(found.schedule.place, steps, found.margins, found.options, values)


class ValidationBatches:
    """An endless iterator over validation batches, which continues across epochs.

    Args:
        loader: the loader of the validation images, in a fixed order.
        first_only: whether each call returns the first batch. The batch is read once, but each call draws a random
            number like a new pass over the loader, because the original code starts a new pass in every step.
    """

    def __init__(self, loader: Any, first_only: bool = False):
        self.loader = loader
        self.first_only = first_only
        self.taken = 0  # batches of the current pass
        self._pass: Iterator[Any] | None = None
        self._first: Any = None

    def __next__(self) -> Any:
        """Return the next batch."""
        if self._first is not None:
            torch.empty((), dtype=torch.int64).random_()
            return self._first
        if self._pass is None or self.taken == len(self.loader):
            self._pass, self.taken = iter(self.loader), 0
        self.taken += 1
        batch = next(self._pass)
        if self.first_only:
            self._first, self._pass = batch, None
        return batch

    def go_on(self, taken: int) -> None:
        """Continue the pass of an earlier process after `taken` batches, without drawing random numbers again.

        Raises:
            UserError: if the loader has fewer batches.
        """
        if taken > len(self.loader):
            raise UserError(
                f"The training state was saved after {taken} batches of validation images, but now there are only "
                f"{len(self.loader)} batches. Use the same validation images as before."
            )
        with torch.random.fork_rng(devices=[]):
            if self.first_only and taken:
                self._first = next(iter(self.loader))
            elif taken:
                self._pass = iter(self.loader)
                for _ in range(taken):
                    next(self._pass)
        self.taken = taken


class SearchRun:
    """The search for a schedule during a training run: Adam updates the alphas before each step of the prompts.

    First order (DPL, arXiv 2501.00457, section 3): no step differentiates through the other.

    Attributes:
        record: the entry of result.json for the search.
    """

    record: dict[str, Any] | None = None
    _history: list[dict[str, Tensor]]  # alphas of each searched side, at the start and after each epoch

    def __init__(self, trainer: Any):
        self.trainer = trainer

    def begin(self) -> None:
        """Raise UserError for a training run that resumes from a checkpoint, which lacks the alphas."""
        start = self.trainer.start_epoch
        if start < self.trainer.cfg.OPTIM.MAX_EPOCH and len(self._history) <= start:
            raise UserError(
                f"schedule.json must contain the alphas of epochs 0 to {start}, because checkpoints do not store the "
                "alphas. Resume from the training state, or start the search again."
            )

    @property
    def settings(self) -> AlphaSettings:
        """Return the settings of the search."""
        settings: AlphaSettings | None = self.trainer.method.search
        assert settings is not None  # otherwise the trainer has no search
        return settings

    @property
    def _learner(self) -> SearchLearner:
        learner = self.trainer.model.prompt_learner
        assert isinstance(learner, SearchLearner)
        return learner

    def check(self, cfg: Any) -> None:
        """Reject settings that would evaluate the run on the images on which the alphas are trained."""
        test = cfg.TEST
        for key, value in (("FINAL_MODEL", "best_val"), ("SPLIT", "val")):
            if test[key] == value and not test.ONLY:
                raise UserError(
                    f"TEST.{key} {value} is not supported for a search, because the alphas are trained on the "
                    f"validation images. Remove TEST.{key}."
                )

    def prepare(self) -> None:
        """Print the options of the search, and check that there are validation images for it.

        Raises:
            UserError: if the only validation images are test images, or every schedule has too many tokens.
        """
        try:
            self.trainer.model.found()
        except UserError as error:
            raise UserError(f"MOST_TOKENS {self.settings.most_tokens}: {error}") from None
        self._print_options()
        if self.trainer.cfg.TEST.ONLY:
            return
        self._require_validation()
        self._history = [self._learner.alphas_now()]

    def _require_validation(self) -> None:
        dataset, name = self.trainer.dm.dataset, self.trainer.cfg.DATASET.NAME
        held_out = reader_facts(dataset).selected_on == HELD_OUT
        if self.trainer.val_loader is None or not (held_out or own_validation(dataset)):
            raise UserError(
                f"{name} has no validation images for the search, and the search must not use test images. "
                "Set DATASET.VAL_FROM_TEST to False and reduce DATASET.NUM_SHOTS, so that some training "
                "images are held out."
            )
        shared = {image.impath for image in dataset.val} & {image.impath for image in dataset.test}
        if shared:
            raise UserError(
                f"{len(shared)} validation {'image of' if len(shared) == 1 else 'images of'} {name} "
                f"{'is also a test image' if len(shared) == 1 else 'are also test images'}, which the search must not "
                "use. Use another split."
            )
        print(
            f"The schedule search trains its parameters (alphas) on {len(dataset.val)} "
            f"{HELD_OUT if held_out else VALIDATION} images."
        )

    def _print_options(self) -> None:
        for side in schedule_file.SIDES:
            if side in self._learner.options:
                most = max(self._learner.options[side], key=len)
                name = "image" if side == "vision" else side
                print(
                    f"The search selects from at most {len(most)} options per layer of the {name} encoder: "
                    f"{shown(most)}"
                )

    @functools.cached_property
    def _scaler(self) -> Any:
        return precision.grad_scaler() if self.trainer.precision.scale_loss else None

    @functools.cached_property
    def _optimiser(self) -> Optimizer:
        optimiser = Adam(self.trainer.model.alpha_parameters(), lr=self.settings.alpha_lr, betas=BETAS)
        return optimiser if self._scaler is None else precision.fused(optimiser)

    @functools.cached_property
    def _validation(self) -> ValidationBatches:
        theirs, size = self.trainer.val_loader, self.settings.alpha_batch  # a test's own size must not affect a search
        pinned, workers = theirs.pin_memory, theirs.num_workers
        loader = DataLoader(theirs.dataset, batch_size=size, num_workers=workers, pin_memory=pinned)
        return ValidationBatches(loader, self.settings.alpha_data == FIRST_BATCH)

    def step(self) -> Mapping[str, Number]:
        """Train the alphas for one step on a validation batch, and return numbers for the log."""
        trainer = self.trainer
        image, label = trainer.parse_batch_train(next(self._validation))
        loss = self.trainer.model.with_tokens(self.trainer.model.objective.loss(trainer.output(image), image, label))
        precision.step(loss, self._optimiser, self._scaler, alone=True)
        loss = loss.detach().float()
        trainer.unread.add_loss(loss, trainer.place)
        return {"loss_val": loss}

    def end_epoch(self) -> None:
        self._history.append(self._learner.alphas_now())

    def end(self) -> None:
        """Write and test the schedule that was found; then test the model with the weighted options of the search."""
        found = self.trainer.model.found()
        for one in found.values():
            margins = "".join(f"{round(margin, 2) + 0.0:>6.2f}" for margin in one.margins)
            print(f"{one.schedule.table()}\n{'margin':<14}{margins}")
        if self.trainer.cfg.OUTPUT_DIR:
            self._write_found(found)
        self.record = {"validation": self._seen()}
        for side, one in found.items():  # the pairs are written like SCHEDULE_TEXT
            steps = str([list(step) for step in one.schedule])
            self.record[side] = {"steps": steps, "least_margin": round(min(one.margins), 4)}
        if not self.trainer.cfg.TEST.NO_TEST:
            print("Accuracy of the selected schedule, with the prompts that were trained during the search:")
            with self._learner.decided({side: one.path for side, one in found.items()}):
                self.record["path_pct"] = self.trainer.test()
            print("Accuracy of the mixture of all options:")

    def _write_found(self, found: Mapping[str, Found]) -> None:
        """Write schedule.json, unless the search was already finished and the file is complete."""
        history = self._history
        if len(history) <= self.trainer.cfg.OPTIM.MAX_EPOCH:
            if not schedule_file.fault(self.trainer.cfg.OUTPUT_DIR):
                return
            history = [self._learner.alphas_now()]
            print(
                "Only the alphas of the last epochs are known, because the previous schedule.json, which contained "
                "the alphas of earlier epochs, is missing."
            )
        cfg, sides = self.trainer.cfg, {}
        for side, schedule in self._learner.schedules._asdict().items():
            if side in found:
                sides[side] = _of_search(found[side], [epoch[side] for epoch in history])
            else:
                sides[side] = SideOfSearch(schedule.place, tuple(map(tuple, schedule)))
        search = {
            "trainer": cfg.TRAINER.NAME,
            "dataset": cfg.DATASET.NAME,
            "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
            "shots": shots_of(cfg),
            "seed": cfg.SEED,
            "epochs": cfg.OPTIM.MAX_EPOCH,
            "validation": self._seen(),
        }
        path = str(Path(cfg.OUTPUT_DIR, schedule_file.FILE_NAME))
        schedule_file.write(path, sides, search)
        print(f"Schedule: {path}")

    def result(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry of result.json about the schedule that the search found and its accuracy."""
        return {EXTRA: {**self.record, "mixture_pct": float(results["accuracy"])}} if self.record else {}

    def _seen(self) -> str:
        return reader_facts(self.trainer.dm.dataset).selected_on or VALIDATION

    def state(self) -> dict[str, Any]:
        scale = {} if self._scaler is None else {"scaler": self._scaler.state_dict()}
        taken, history = self._validation.taken, self._history
        return {EXTRA: {"optimiser": self._optimiser.state_dict(), "taken": taken, "history": history, **scale}}

    def load_state(self, extras: Mapping[str, Any]) -> None:
        state = extras[EXTRA]
        self._optimiser.load_state_dict(state["optimiser"])
        if self._scaler is not None and "scaler" in state:
            self._scaler.load_state_dict(state["scaler"])
        self._validation.go_on(state["taken"])
        self._history = list(state["history"])
