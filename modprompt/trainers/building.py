"""The model of a trainer: the CLIP of its settings, the method on it, and the optimiser of what it learns."""

import dataclasses
import random
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from dassl.optim import build_optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from modprompt.checks import one_of
from modprompt.clip import known
from modprompt.clip.build import require_input_size
from modprompt.clip.cast import cast_products
from modprompt.clip.facts import facts_of
from modprompt.clip.known import whose
from modprompt.clip.load import kinds_and_layers
from modprompt.clip.tokens import require_known_words
from modprompt.clip.towers import CLIP, has_tower, joint_width, kinds_of, tokenizer_of
from modprompt.data.reader_facts import is_few_shot, reader_facts
from modprompt.engine import precision
from modprompt.engine.memory import keep_freed_memory
from modprompt.engine.schedule import Shape
from modprompt.errors import SettingError, UserError
from modprompt.io.same_run import of_tokenizer
from modprompt.methods import together
from modprompt.methods.assembly import require_sides
from modprompt.methods.base import Method
from modprompt.methods.parts.learners import Learner, TemplatePrompts
from modprompt.methods.parts.lr_schedule import build_lr_scheduler, cosines
from modprompt.methods.parts.text import MODES
from modprompt.methods.records import view_of
from modprompt.methods.search import over as search
from modprompt.trainers import backbone, mistakes
from modprompt.trainers.config import method_of
from modprompt.trainers.part import Part, Run

MOST_SHOTS = 16  # images of a class that are counted if no number of shots is given


def _shape_of(clip_model: CLIP) -> str:
    """How a CLIP is run, in words."""
    facts = facts_of(clip_model)
    if not has_tower(clip_model):
        text, image = facts.heads
        return (
            f"activation {facts.activation}, {text} attention heads in the text encoder, {image} in the image encoder"
        )
    tokens = tokenizer_of(clip_model).facts
    return f"tokenizer {tokens.name} with {tokens.length} tokens per text, supports {kinds_of(clip_model).runs}"


def _keeps_in_half(matrix: torch.Tensor) -> bool:
    """Whether half precision holds a matrix exactly; one stands for all of a file."""
    return torch.equal(matrix.half().to(matrix.dtype), matrix)


class Pass(NamedTuple):
    """A pass over the training images.

    stage: of the training, from 0.
    begins: whether it is the first of its stage.
    batches: how many it has; the last one of a stage that counts steps may have fewer.
    """

    stage: int
    begins: bool
    batches: int


class Building(Part):
    """Builds what a trainer trains.

    Attributes:
        notes: what a result says of the training, besides its settings.
        each_step: whether learning rates change after each step, not after each epoch.
        stages: how many steps each stage of the training has; none if its epochs decide that.
    """

    notes: list[str] = []
    each_step = False
    stages: tuple[int, ...] = ()

    @property
    def reads_training_images(self) -> bool:
        """Return True if the run's numbers depend on its training images."""
        return True

    def checked(self, cfg: Any) -> Run:
        """The run of a configuration; no work is done yet.

        Raises:
            UserError: if settings do not fit, or a schedule does not fit a CLIP whose layers are known.
        """
        kind, node = self.trainer.method_class, self.trainer.node_name
        if kind is None:
            raise UserError(
                f"The trainer {type(self.trainer).__name__} has no method_class. Set method_class as "
                "docs/own_trainer.md describes."
            )
        try:
            one_of("PREC", cfg.TRAINER[node].PREC, precision.CHOICES)
            method: Method = method_of(kind, cfg.TRAINER[node]).prepared()
        except SettingError as error:
            raise error.under(f"TRAINER.{node}") from None
        method = together.joined(method, cfg.TRAINER)
        return Run(cfg, node, search.over(method, cfg))

    def check(self) -> None:
        """Refuse what does not fit a CLIP, as far as that is known before; warn of an average that is not tested.

        Raises:
            UserError: if the method puts prompts into a side that accepts none.
            SettingError: if a schedule does not fit.
        """
        cfg = self.cfg
        try:
            found = kinds_and_layers(known.asked_of(cfg.MODEL.BACKBONE))
            if found is not None:
                kinds, layers = found
                require_sides(self.method, kinds, Path(cfg.MODEL.BACKBONE.PATH or "").name or cfg.MODEL.BACKBONE.NAME)
                if all(layers):
                    self.method.sides(Shape(*layers))
        except SettingError as error:
            raise error.under(f"TRAINER.{self.run.node_name}") from None
        if self.method.training.averaging and cfg.TEST.FINAL_MODEL == "best_val":
            warnings.warn(
                "TEST.FINAL_MODEL best_val tests the prompts of a single epoch, so the average over epochs (GPA) is "
                "not tested. To test the average, set TEST.FINAL_MODEL to last_step.",
                stacklevel=2,
            )

    def build(self) -> None:
        """Make CLIP, prompts and optimiser; only the prompts are trained, saved and registered."""
        trainer = self.trainer
        self.put_on_clip()
        learner = self.model.prompt_learner
        tell_of(learner, self.method.logging.examples)
        view = view_of(self.method, learner)
        self.notes = [*self.method.results.notes]
        if self.cfg.MODEL.INIT_WEIGHTS:
            trainer.checkpoints.load_initial(view)
        optimiser = self.optimiser()
        self._count_steps()
        trainer.scaler = precision.grad_scaler() if self.run.precision.scale_loss else None
        trainer.optim = optimiser if trainer.scaler is None else precision.fused(optimiser)
        trainer.sched = self.schedule(trainer.optim)
        trainer.register_model(self.method.saved_as.folder, view, trainer.optim, trainer.sched)
        if trainer.search is not None:
            trainer.search.prepare()

    def load_clip(self) -> CLIP:
        """The CLIP that the config names, checked against INPUT.SIZE and the class names."""
        cfg, trainer = self.cfg, self.trainer
        if "normalize" not in cfg.INPUT.TRANSFORMS:
            warnings.warn(
                "INPUT.TRANSFORMS does not contain 'normalize', but CLIP expects normalized images. Add 'normalize'.",
                stacklevel=2,
            )
        if trainer.device.type == "cpu":
            keep_freed_memory()
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME})")
        clip_model = backbone.load_clip(cfg)
        facts = facts_of(clip_model)
        print(f"The CLIP model has {whose(facts.name, facts.dialect)} weights ({_shape_of(clip_model)}).")
        require_input_size(clip_model.visual.input_resolution, *cfg.INPUT.SIZE)
        require_known_words(trainer.dm.dataset.classnames, clip_model)
        trainer.run = dataclasses.replace(
            self.run,
            fingerprint=clip_model.fingerprint,
            tokenizer=of_tokenizer(facts.as_record()),
            keeps_in_half=has_tower(clip_model) or _keeps_in_half(clip_model.text_projection.detach()),
            feature_width=joint_width(clip_model),
        )
        return clip_model

    def put_on_clip(self) -> None:
        """Load CLIP and put the method on it, in the precision of PREC."""
        cfg, trainer, prec = self.cfg, self.trainer, self.run.node.PREC
        how = precision.resolve(prec, trainer.device)
        if how.note:
            print(how.note)
        trainer.run = dataclasses.replace(self.run, precision=how)
        trainer.clip_model = clip_model = self.load_clip()
        if how.half_weights:
            cast_products(clip_model, torch.float16)  # for weights saved in float32
        else:
            clip_model.float()
        names, which = trainer.dm.dataset.classnames, reader_facts(trainer.dm.dataset).which
        try:
            trainer.model = self.method.on(
                clip_model, names, dataset=cfg.DATASET.NAME, epochs=cfg.OPTIM.MAX_EPOCH, listed=True, which=which
            )
        except SettingError as error:
            raise error.under(f"TRAINER.{self.run.node_name}") from None
        trainer.run = dataclasses.replace(trainer.run, feature_width=trainer.model.feature_width)
        trainer.model.to(trainer.device).cast(prec)
        trainer.model.limit_text(cfg.MODEL.TEXT_CHUNK)

    def optimiser(self) -> Any:
        """The optimiser of all that is trained, as OPTIM and the method define it."""
        cfg = self.cfg
        own = self.method.training.rates
        if cfg.OPTIM.STAGED_LR:  # it would drop parameters that belong to no child module
            rates = "the method sets its own learning rates" if own else "OPTIM.LR is the only learning rate"
            print(f"OPTIM.STAGED_LR True is ignored because {rates}.")
            cfg = cfg.changed({"OPTIM.STAGED_LR": False})
        learned = self.model.parameter_groups(cfg.OPTIM.LR) if own else self.model.prompt_parameters()
        for one in own:
            decay = "" if one.weight_decay is None else f", weight decay {one.weight_decay:g}"
            print(f"Learning rate of {', '.join(one.names)}: {one.factor:g} times OPTIM.LR{decay}.")
        with mistakes.of_settings("OPTIM"):
            optimiser = build_optimizer(learned, cfg.OPTIM)
        for name, value in self.method.training.optimiser.items():  # what the method sets besides OPTIM
            if name not in optimiser.defaults:
                print(f"{name} {value} is ignored because the optimizer {self.cfg.OPTIM.NAME} has no such setting.")
            for group in optimiser.param_groups if name in optimiser.defaults else ():
                group[name] = value
        return optimiser

    def _count_steps(self) -> None:
        """Of a method that counts steps: how many, in how many passes; printed before anything is trained."""
        counted, trainer = self.method.training.steps, self.trainer
        if counted is None or self.cfg.TEST.ONLY:
            return
        images, classes = len(trainer.dm.dataset.train_x), len(trainer.dm.dataset.classnames)
        shots: float = self.cfg.DATASET.NUM_SHOTS
        picked = reader_facts(trainer.dm.dataset).picked  # by rounds, from whatever list
        if picked or not is_few_shot(self.cfg):  # the whole split, or one's own images
            shots = min(MOST_SHOTS, -(-images // classes))
        elif shots < 1:  # each class has its own number
            shots = images / classes
        steps, batches = round(counted.per_shot * shots), len(trainer.train_loader_x)
        first = int(steps * counted.first)
        self.each_step, self.stages = True, (first, steps - first) if counted.first < 1 else (steps,)
        trainer.max_epoch = sum(-(-stage // batches) for stage in self.stages)
        stages = f" ({first} steps in stage 1 and {steps - first} in stage 2)" if len(self.stages) > 1 else ""
        print(
            f"{type(self.method).__name__} trains for {steps} steps{stages}, that is, {trainer.max_epoch} epochs of "
            f"up to {batches} batches. The number of steps is {counted.per_shot} x {shots:.4g} shots per class."
        )

    def part(self, epoch: int) -> Pass:
        """What a pass, from 0, of the training is."""
        whole = len(self.trainer.train_loader_x)
        for number, steps in enumerate(self.stages):
            passes = -(-steps // whole)
            if epoch < passes:
                return Pass(number, epoch == 0, min(whole, steps - epoch * whole))
            epoch -= passes
        return Pass(0, epoch == 0, whole)

    def steps_before(self, epoch: int) -> int:
        """How many steps the passes before this one have."""
        return sum(self.part(before).batches for before in range(epoch))

    def schedule(self, optimiser: Any) -> Any:
        """The learning rates that OPTIM defines, by epoch; a message if the run ends within the warm-up."""
        optim, epochs = self.cfg.OPTIM, self.trainer.max_epoch
        counted = self.method.training.steps
        if self.stages and counted is not None:
            if len(self.stages) > 1:
                return cosines(optimiser, self.stages, counted.least_rate)
            return CosineAnnealingLR(optimiser, self.stages[0], eta_min=counted.least_rate)
        if 0 < epochs <= optim.WARMUP_EPOCH and not self.cfg.TEST.ONLY:
            constant = optim.WARMUP_TYPE == "constant"
            rate = f"at {optim.WARMUP_CONS_LR:g}" if constant else f"rising from {optim.WARMUP_MIN_LR:g}"
            trained = "the only epoch is a warm-up epoch" if epochs == 1 else f"all {epochs} epochs are warm-up epochs"
            note = f"{trained} with the learning rate {rate}"
            self.notes = [*self.notes, note]
            print(f"note: OPTIM.WARMUP_EPOCH is {optim.WARMUP_EPOCH}, so {note}.")
        alike = any(not one.in_warm_up for one in self.method.training.rates)
        return build_lr_scheduler(optimiser, optim, alike)


class ZeroShotBuilding(Building):
    """Building for a method that trains nothing: CLIP, and the prompts of all classes."""

    def checked(self, cfg: Any) -> Run:
        """The run; there are no settings."""
        return Run(cfg, "", type(self.trainer).method_class())

    def check(self) -> None:
        """Nothing."""

    def build(self) -> None:
        """Make CLIP as under PREC fp16 (half precision on CUDA, single on a CPU), and the prompts of all classes."""
        trainer = self.trainer
        if self.cfg.MODEL.INIT_WEIGHTS:
            print(
                f"note: {self.cfg.TRAINER.NAME} tests CLIP without trained prompts, so MODEL.INIT_WEIGHTS "
                f"{self.cfg.MODEL.INIT_WEIGHTS} is ignored."
            )
        trainer.clip_model = clip_model = self.load_clip().to(trainer.device)
        if precision.resolve("fp16", trainer.device).half_weights:
            cast_products(clip_model, torch.float16)
        else:
            clip_model.float()
        names, dataset = trainer.dm.dataset.classnames, self.cfg.DATASET.NAME
        trainer.model = self.method.on(clip_model, names, dataset=dataset, listed=True)
        trainer.model.to(trainer.device).eval()
        learner: Any = trainer.model.prompt_learner
        assert isinstance(learner, TemplatePrompts)
        print(f"Prompt templates ({len(learner.templates)}): {' | '.join(learner.templates)}")


def tell_of(learner: Learner, draws_examples: bool = False) -> None:
    """Print what it starts from, what describes the classes, the schedules, how much is trained.

    With `draws_examples` also the prompts of ten classes at most, drawn by Python's generator: MPL's reference draws
    them here, and what a training draws later (noise, translations) depends on it.
    """
    print(learner.beginning)
    if draws_examples:
        texts = learner.prompt_text.texts
        print(f"Example prompts: {random.sample(texts, min(10, len(texts)))}")
    described, pooling = learner.described, learner.pooling
    if described is not None and pooling is not None:
        prompts, classes = len(learner.prompt_text.texts), len(pooling.shares)
        what = f"{MODES[described.pooled]}: the mean of their {described.pooled}"
        print(f"Class descriptions: {prompts} phrases for {classes} classes from {described.content.source} ({what})")
    for side, schedule in learner.schedules._asdict().items():
        if schedule.depth and side not in learner.options:  # a side with options tells its own schedule
            print(schedule.table())
    trained = [one for one in learner.parameters() if one.requires_grad]
    print(f"Parameters to be updated: {sum(one.numel() for one in trained):,} in {len(trained)} tensors")
