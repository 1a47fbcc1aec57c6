"""A run that searches: alphas learn from validation images between steps of the prompts; it writes a schedule."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader

from modprompt.engine import precision
from modprompt.engine.model import Output
from modprompt.errors import UserError
from modprompt.io import images
from modprompt.io.images import shots_of
from modprompt.io.pictures import can_draw
from modprompt.io.schema import Form, rows, table, whole
from modprompt.methods.parts.deferred_metrics import Number
from modprompt.methods.parts.step import Step, fused
from modprompt.methods.search import alphas_file as alphas
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.file import SideOfSearch
from modprompt.methods.search.learner import Found, SearchLearner
from modprompt.methods.search.settings import BETAS, FIRST_BATCH, AlphaSettings
from modprompt.methods.search.space import ALL, Option
from modprompt.methods.search.validation import ValidationBatches
from modprompt.trainers.part import FeaturePart
from modprompt.trainers.state_form import like, optimiser_form, scaler_form

_NEVER = -1e30  # alpha of an option that a layer does not have: the file's rows have one length
PICTURE = "search.png"
EXTRA = "search"  # key in the state of a run, and in its result


def shown(options: Sequence[Option]) -> str:
    """Options as text: every removal with every addition."""
    numbers = sorted({remove for remove, _ in options} - {ALL})
    removes = f"{numbers[0]} to {numbers[-1]}" if numbers else ""
    whole = "all" if any(remove == ALL for remove, _ in options) else ""
    return f"remove {' or '.join(filter(None, (removes, whole)))}, add 0 to {max(add for _, add in options)}"


def margins_line(found: Found) -> str:
    """How sure each layer's choice is: the weight of the chosen option minus that of the best other."""
    return f"{'margin':<14}" + "".join(f"{round(margin, 2) + 0.0:>6.2f}" for margin in found.margins)


def write_alphas(folder: str, epoch: int, learner: SearchLearner, values: Mapping[str, Tensor], npy: bool) -> None:
    """Write alpha_e{epoch}.npz; with `npy` also the reference's pair of files.

    Args:
        folder: where.
        epoch: the epoch that has ended.
        learner: the learner with the options.
        values: the alphas (L, O) of each searched side.
        npy: whether the reference's files are written too.
    """
    sides = {side: _table(values[side], options, learner.place(side)) for side, options in learner.options.items()}
    alphas.write(folder, epoch, sides)
    if not npy:
        return
    both = alphas.write_pair(folder, epoch, text=sides["text"].values, vision=sides["vision"].values)
    if epoch == 0:
        print(f"The reference's files, {', '.join(map(str, both))} and so on, are written too: {alphas.SWAPPED}")


def _table(values: Tensor, options: Sequence[Sequence[Option]], place: str) -> alphas.Alphas:
    most = max(map(len, options))
    rows = [[*row[: len(there)], *[_NEVER] * (most - len(there))] for row, there in zip(values.tolist(), options)]
    pairs = [[*there, *[there[-1]] * (most - len(there))] for there in options]
    return alphas.Alphas(np.array(rows, np.float32), np.array(pairs, np.int64), place)


def require_alphas(folder: str, epochs: int) -> None:
    """Raise UserError if the alphas of an epoch up to this one are missing."""
    for epoch in range(epochs + 1):
        _read(folder, epoch)


def write_found(cfg: Any, learner: SearchLearner, found: Mapping[str, Found], validation: str) -> None:
    """Write schedule.json and the picture."""
    folder = cfg.OUTPUT_DIR
    history = [_read(folder, epoch) for epoch in range(cfg.OPTIM.MAX_EPOCH + 1)]
    sides = {}
    for side, schedule in learner.schedules._asdict().items():
        if side in found:
            sides[side] = _of_search(found[side], [each[side] for each in history if side in each])
        else:
            sides[side] = SideOfSearch(schedule.place, tuple(map(tuple, schedule)))
    search = {
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": shots_of(cfg),
        "seed": cfg.SEED,
        "epochs": cfg.OPTIM.MAX_EPOCH,
        "validation": validation,
    }
    path = str(Path(folder, schedule_file.FILE_NAME))
    schedule_file.write(path, sides, search)
    print(f"Schedule: {path}")
    if can_draw():
        from modprompt.methods.search.figure import draw

        draw(Path(folder, PICTURE), {side: one for side, one in sides.items() if one.alphas})


def _read(folder: str, epoch: int) -> dict[str, alphas.Alphas]:
    path = str(Path(folder, alphas.file_name(epoch)))
    try:
        return alphas.read(path)
    except FileNotFoundError:
        raise UserError(
            f"{path} is gone: schedule.json needs the alphas of every epoch; start the search again"
        ) from None


def _of_search(found: Found, history: list[alphas.Alphas]) -> SideOfSearch:
    values = tuple(
        tuple(tuple(row[: len(there)].tolist()) for row, there in zip(each.values, found.options)) for each in history
    )
    steps: tuple[Option, ...] = tuple((step.remove, step.add) for step in found.schedule)
    return SideOfSearch(found.schedule.place, steps, found.margins, found.options, values)


def record_of(found: Mapping[str, Found]) -> dict[str, Any]:
    """The search in result.json: each side's pairs, written like SCHEDULE_TEXT, and the smallest margin."""
    return {
        side: {"steps": str([list(step) for step in one.schedule]), "least_margin": round(min(one.margins), 4)}
        for side, one in found.items()
    }


class SearchRun(FeaturePart):
    """The search in a trainer: a step of the alphas by Adam before each step of the prompts by SGD.

    First order (DPL, arXiv 2501.00457, section 3): no step differentiates through the other.

    Attributes:
        record: what result.json says of the search.
    """

    alternates = chooses = True
    record: dict[str, Any] | None = None
    _history: list[dict[str, Tensor]]  # alphas of each searched side, at the start and after each epoch

    def begin(self) -> None:
        """Write the initial alphas.

        Raises:
            UserError: if alphas of earlier epochs are missing, because a run was resumed without its state.
        """
        if self.trainer.start_epoch == 0:
            self._write_alphas(0)
        elif self.cfg.OUTPUT_DIR:
            require_alphas(self.cfg.OUTPUT_DIR, self.trainer.start_epoch)

    @property
    def settings(self) -> AlphaSettings:
        """The settings of the search."""
        settings = self.method.search
        assert settings is not None  # otherwise there is no such part
        return settings

    @property
    def _learner(self) -> SearchLearner:
        learner = self.model.prompt_learner
        assert isinstance(learner, SearchLearner)
        return learner

    def check(self) -> None:
        """Complain about settings that do not go with a search."""
        cfg = self.cfg
        for key, value in (("FINAL_MODEL", "best_val"), ("SPLIT", "val")):
            if cfg.TEST[key] == value and not getattr(cfg.TEST, "ONLY", False):
                raise UserError(f"TEST.{key} {value}: the alphas of a search have seen the validation images")

    def prepare(self) -> None:
        """Check the images for the alphas, and whether there is anything to find.

        Raises:
            UserError: if the only validation images are test images, or every schedule has too many tokens.
        """
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
                f"{name} has no validation images for the search, which must not see test images: "
                "leave DATASET.VAL_FROM_TEST False, and DATASET.NUM_SHOTS low enough that some are held out"
            )
        shared = {image.impath for image in dataset.val} & {image.impath for image in dataset.test}
        if shared:
            raise UserError(
                f"{len(shared)} validation images of {name} are test images too: a search must not see them"
            )
        print(f"The alphas learn from {len(dataset.val)} {images.HELD_OUT if held_out else images.VALIDATION} images")

    def _print_options(self) -> None:
        for side in schedule_file.SIDES:
            if side in self._learner.options:
                most = max(self._learner.options[side], key=len)
                print(f"{side} side: {len(most)} options per layer: {shown(most)}")

    def _write_alphas(self, epoch: int) -> None:
        if self.cfg.OUTPUT_DIR:
            npy = bool(getattr(self.method, "write_npy", False))
            write_alphas(self.cfg.OUTPUT_DIR, epoch, self._learner, self._history[epoch], npy)

    @functools.cached_property
    def _alpha_step(self) -> Step:
        optimiser: Optimizer = Adam(self.model.alpha_parameters(), lr=self.settings.alpha_lr, betas=BETAS)
        scaler = precision.grad_scaler() if self.run.precision.scale_loss else None
        return Step(self._output_and_alpha_loss, optimiser if scaler is None else fused(optimiser), scaler, alone=True)

    @functools.cached_property
    def _validation(self) -> ValidationBatches:
        theirs = self.trainer.val_loader
        size = self.settings.alpha_batch  # a test's own size must not affect a search
        pinned, workers = theirs.pin_memory, theirs.num_workers
        loader = DataLoader(theirs.dataset, batch_size=size, num_workers=workers, pin_memory=pinned)
        return ValidationBatches(loader, self.settings.alpha_data == FIRST_BATCH)

    def _output_and_alpha_loss(self, image: Tensor, label: Tensor) -> tuple[Output, Tensor]:
        output, loss = self.trainer.loop.output_and_loss(image, label)
        return output, self.model.with_tokens(loss)

    def step(self) -> Mapping[str, Number]:
        """A step of the alphas on a validation batch; returns numbers for the log."""
        done = self._alpha_step(*self.trainer.parse_batch_train(next(self._validation)))
        self.trainer.loop.unread.add_loss(done.loss, self.trainer.loop.place())
        return {"loss_val": done.loss}

    def end_epoch(self) -> None:
        """Write the alphas."""
        self._history.append(self._learner.alphas_now())
        self._write_alphas(self.trainer.epoch + 1)

    def end(self) -> None:
        """Write the schedule that was found, and test it with the search's prompts; then test the mixture."""
        found = self.model.found()
        for one in found.values():
            print(f"{one.schedule.table()}\n{margins_line(one)}")
        if self.cfg.OUTPUT_DIR:
            write_found(self.cfg, self._learner, found, self._seen())
        self.record = {"validation": self._seen(), **record_of(found)}
        if not self.cfg.TEST.NO_TEST:
            print("The schedule that was found, with the prompts of the search:")
            with self._learner.decided({side: one.path for side, one in found.items()}):
                self.record["path_pct"] = self.trainer.test()
            print("The mixture of all options:")

    def result(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """What was found, with its accuracy for the search's prompts; the run's accuracy is the mixture's."""
        return {EXTRA: {**self.record, "mixture_pct": float(results["accuracy"])}} if self.record else {}

    def _seen(self) -> str:
        return str(getattr(self.trainer.dm.dataset, "selected_on", "") or images.VALIDATION)

    def state(self) -> dict[str, Any]:
        """What must be kept for resuming."""
        scaler = self._alpha_step.scaler
        state: dict[str, Any] = {
            "optimiser": self._alpha_step.optimiser.state_dict(),
            "taken": self._validation.taken,
            "history": self._history,
        }
        return {EXTRA: {**state, **({} if scaler is None else {"scaler": scaler.state_dict()})}}

    def form(self, epoch: int) -> dict[str, Form]:
        """The form of state's content after so many epochs."""
        step, batches = self._alpha_step, len(self._validation.loader)
        required = {
            "optimiser": optimiser_form(step.optimiser),
            "taken": whole(0, batches),
            "history": rows(like(self._learner.alphas_now()), epoch + 1),
        }
        scaler = {} if step.scaler is None else {"scaler": scaler_form(step.scaler.state_dict())}
        return {EXTRA: table(required, scaler)}

    def load_state(self, extras: Mapping[str, Any]) -> None:
        """Restore what state returned; `form` has checked it."""
        state = extras[EXTRA]
        self._alpha_step.optimiser.load_state_dict(state["optimiser"])
        if self._alpha_step.scaler is not None and "scaler" in state:
            self._alpha_step.scaler.load_state_dict(state["scaler"])
        self._validation.go_on(state["taken"])
        self._history = list(state["history"])
        for epoch in range(len(self._history)):
            self._write_alphas(epoch)
