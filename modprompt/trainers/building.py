"""Building what a trainer trains: the CLIP of its settings, the method's model on it, optimiser and learning rates."""

import random
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from dassl.optim import build_optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from modprompt.checks import one_of
from modprompt.clip import spec
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
from modprompt.io import identity
from modprompt.methods import together
from modprompt.methods.assembly import require_sides
from modprompt.methods.base import Method
from modprompt.methods.parts.learners import Learner
from modprompt.methods.parts.lr_schedule import build_lr_scheduler, cosines
from modprompt.methods.parts.text import MODES
from modprompt.methods.records import view_of
from modprompt.methods.search import over as search
from modprompt.trainers import backbone, checkpoints, mistakes
from modprompt.trainers.config import method_of

MOST_SHOTS = 16  # if no number of shots is given, at most this many images of a class count as shots


class Pass(NamedTuple):
    """A pass over the training images.

    stage: the stage of the training, from 0.
    begins: True for the first pass of a stage.
    batches: the number of batches. The last pass of a stage that counts steps may have fewer than the loader.
    """

    stage: int
    begins: bool
    batches: int


def make_method(trainer: type, cfg: Any) -> Method:
    """Return the method that a configuration describes, without reading weights or images.

    Args:
        trainer: the class of the trainer, with `method_class` and `node_name`.
        cfg: the configuration of the run.

    Raises:
        UserError: if settings do not fit, or the class has no method.
    """
    kind: Any = getattr(trainer, "method_class", None)
    if kind is None:
        raise UserError(
            f"The trainer {trainer.__name__} has no method_class. Set method_class as docs/own_trainer.md describes."
        )
    node: str = getattr(trainer, "node_name", "")
    try:
        one_of("PREC", cfg.TRAINER[node].PREC, precision.CHOICES)
        method: Method = method_of(kind, cfg.TRAINER[node]).prepared()
    except SettingError as error:
        raise error.under(f"TRAINER.{node}") from None
    searching: Method = search.over(together.joined(method, cfg.TRAINER), cfg)
    return searching


def require_fit(method: Method, node_name: str, cfg: Any) -> None:
    """Raise an error if it is known before loading the weights that a method does not fit the CLIP model.

    A warning is given if the average over epochs is not tested.

    Raises:
        UserError: if the method adds prompts to an encoder that does not accept prompts.
        SettingError: if the schedule of the prompts does not fit the number of layers.
    """
    try:
        found = kinds_and_layers(spec.asked_of(cfg.MODEL.BACKBONE))
        if found is not None:
            kinds, layers = found
            require_sides(method, kinds, Path(cfg.MODEL.BACKBONE.PATH or "").name or cfg.MODEL.BACKBONE.NAME)
            if all(layers):
                method.sides(Shape(*layers))
    except SettingError as error:
        raise error.under(f"TRAINER.{node_name}") from None
    if method.training.averaging and cfg.TEST.FINAL_MODEL == "best_val":
        warnings.warn(
            "TEST.FINAL_MODEL best_val tests the prompts of a single epoch, so the average over epochs (GPA) is "
            "not tested. To test the average, set TEST.FINAL_MODEL to last_step.",
            stacklevel=2,
        )


def build(trainer: Any) -> None:
    """Build the CLIP model, the learner and its optimiser, and register the learner for training and saving."""
    build_model(trainer)
    learner = trainer.model.prompt_learner
    print_start(learner, trainer.method.logging.examples)
    view = view_of(trainer.method, learner)
    trainer.notes = [*trainer.method.results.notes]
    if trainer.cfg.MODEL.INIT_WEIGHTS:
        checkpoints.load_initial(trainer, view)
    optimiser = make_optimiser(trainer)
    _count_steps(trainer)
    trainer.scaler = precision.grad_scaler() if trainer.precision.scale_loss else None
    trainer.optim = optimiser if trainer.scaler is None else precision.fused(optimiser)
    trainer.sched = make_schedule(trainer, trainer.optim)
    trainer.register_model(trainer.method.saved_as.folder, view, trainer.optim, trainer.sched)
    if trainer.search is not None:
        trainer.search.prepare()


def load_clip(trainer: Any) -> CLIP:
    """Load the CLIP that the configuration names, check INPUT.SIZE and the class names, and record its facts."""
    cfg = trainer.cfg
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
    trainer.fingerprint = clip_model.fingerprint
    trainer.clip_identity = identity.of_clip(trainer.fingerprint, facts.as_record())
    trainer.keeps_in_half = has_tower(clip_model) or _keeps_in_half(clip_model.text_projection.detach())
    trainer.feature_width = joint_width(clip_model)
    return clip_model


def _shape_of(clip_model: CLIP) -> str:
    """Return a short description of the architecture of a CLIP model for the log."""
    facts = facts_of(clip_model)
    if not has_tower(clip_model):
        text, image = facts.heads
        return (
            f"activation {facts.activation}, {text} attention heads in the text encoder, {image} in the image encoder"
        )
    tokens = tokenizer_of(clip_model).facts
    return f"tokenizer {tokens.name} with {tokens.length} tokens per text, supports {kinds_of(clip_model).runs}"


def _keeps_in_half(matrix: torch.Tensor) -> bool:
    """Return True if half precision represents all values of a weight matrix exactly."""
    return torch.equal(matrix.half().to(matrix.dtype), matrix)


def build_model(trainer: Any) -> None:
    """Load the CLIP model, add the learner of the method, and convert both to the precision PREC."""
    cfg, prec, node = trainer.cfg, trainer.node.PREC, trainer.node_name
    trainer.precision = precision.resolve(prec, trainer.device)
    if trainer.precision.note:
        print(trainer.precision.note)
    trainer.clip_model = clip_model = load_clip(trainer)
    if trainer.precision.half_weights:
        cast_products(clip_model, torch.float16)  # for weights saved in float32
    else:
        clip_model.float()
    names, which = trainer.dm.dataset.classnames, reader_facts(trainer.dm.dataset).which
    try:
        trainer.model = trainer.method.on(
            clip_model, names, dataset=cfg.DATASET.NAME, epochs=cfg.OPTIM.MAX_EPOCH, listed=True, which=which
        )
    except SettingError as error:
        raise error.under(f"TRAINER.{node}") from None
    trainer.feature_width = trainer.model.feature_width
    trainer.model.to(trainer.device).cast(prec)
    trainer.model.limit_text(cfg.MODEL.TEXT_CHUNK)


def make_optimiser(trainer: Any) -> Any:
    """Create the optimiser of all trained parameters from the settings OPTIM and the method."""
    cfg, training = trainer.cfg, trainer.method.training
    if cfg.OPTIM.STAGED_LR:  # it would drop parameters that belong to no child module
        rates = "the method sets its own learning rates" if training.rates else "OPTIM.LR is the only learning rate"
        print(f"OPTIM.STAGED_LR True is ignored because {rates}.")
        cfg = cfg.changed({"OPTIM.STAGED_LR": False})
    model = trainer.model
    learned = model.parameter_groups(cfg.OPTIM.LR) if training.rates else model.prompt_parameters()
    for rate in training.rates:
        decay = "" if rate.weight_decay is None else f", weight decay {rate.weight_decay:g}"
        print(f"Learning rate of {', '.join(rate.names)}: {rate.factor:g} times OPTIM.LR{decay}.")
    with mistakes.of_settings("OPTIM"):
        optimiser = build_optimizer(learned, cfg.OPTIM)
    for name, value in training.optimiser.items():  # what the method sets besides OPTIM
        if name not in optimiser.defaults:
            print(f"{name} {value} is ignored because the optimizer {cfg.OPTIM.NAME} has no such setting.")
        for group in optimiser.param_groups if name in optimiser.defaults else ():
            group[name] = value
    return optimiser


def _count_steps(trainer: Any) -> None:
    """Set and print the number of steps and epochs for a method whose training length is given in steps."""
    counted, cfg, dataset = trainer.method.training.steps, trainer.cfg, trainer.dm.dataset
    if counted is None or cfg.TEST.ONLY:
        return
    images, classes = len(dataset.train_x), len(dataset.classnames)
    shots: float = cfg.DATASET.NUM_SHOTS
    picked = reader_facts(dataset).picked  # by active learning, from whatever list
    if picked or not is_few_shot(cfg):  # the whole split, or the user's own images
        shots = min(MOST_SHOTS, -(-images // classes))
    elif shots < 1:  # each class has its own number
        shots = images / classes
    steps, batches = round(counted.per_shot * shots), len(trainer.train_loader_x)
    first = int(steps * counted.first)
    trainer.each_step, trainer.stages = True, (first, steps - first) if counted.first < 1 else (steps,)
    trainer.max_epoch = sum(-(-stage // batches) for stage in trainer.stages)
    stages = f" ({first} steps in stage 1 and {steps - first} in stage 2)" if len(trainer.stages) > 1 else ""
    print(
        f"{type(trainer.method).__name__} trains for {steps} steps{stages}, that is, {trainer.max_epoch} epochs of "
        f"up to {batches} batches. The number of steps is {counted.per_shot} x {shots:.4g} shots per class."
    )


def pass_of(trainer: Any, epoch: int) -> Pass:
    """Return the training stage to which an epoch belongs, and the number of batches in this epoch."""
    whole = len(trainer.train_loader_x)
    for number, steps in enumerate(trainer.stages):
        passes = -(-steps // whole)
        if epoch < passes:
            return Pass(number, epoch == 0, min(whole, steps - epoch * whole))
        epoch -= passes
    return Pass(0, epoch == 0, whole)


def steps_before(trainer: Any, epoch: int) -> int:
    """Return the number of steps of all epochs before this epoch."""
    return sum(pass_of(trainer, before).batches for before in range(epoch))


def make_schedule(trainer: Any, optimiser: Any) -> Any:
    """Return the learning-rate scheduler that OPTIM defines; print a note if the training ends within the warm-up."""
    optim, epochs, training = trainer.cfg.OPTIM, trainer.max_epoch, trainer.method.training
    if trainer.stages and training.steps is not None:
        least = training.steps.least_rate
        if len(trainer.stages) > 1:
            return cosines(optimiser, trainer.stages, least)
        return CosineAnnealingLR(optimiser, trainer.stages[0], eta_min=least)
    if 0 < epochs <= optim.WARMUP_EPOCH and not trainer.cfg.TEST.ONLY:
        constant = optim.WARMUP_TYPE == "constant"
        rate = f"at {optim.WARMUP_CONS_LR:g}" if constant else f"rising from {optim.WARMUP_MIN_LR:g}"
        trained = "the only epoch is a warm-up epoch" if epochs == 1 else f"all {epochs} epochs are warm-up epochs"
        note = f"{trained} with the learning rate {rate}"
        trainer.notes = [*trainer.notes, note]
        print(f"note: OPTIM.WARMUP_EPOCH is {optim.WARMUP_EPOCH}, so {note}.")
    alike = any(not rate.in_warm_up for rate in training.rates)
    return build_lr_scheduler(optimiser, optim, alike)


def print_start(learner: Learner, draws_examples: bool = False) -> None:
    """Print the initial prompts, the class descriptions, the schedules and the number of trained parameters.

    Args:
        learner: the learner that is trained.
        draws_examples: also print the prompts of at most ten classes, drawn by Python's generator. MPL's reference
            draws them here, and what a training run draws later (noise, translations) depends on it.
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
