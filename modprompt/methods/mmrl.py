"""Multi-Modal Representation Learning (MMRL, arXiv 2503.08497): shared tokens in the upper layers, read out at the end.

MMRL++ (arXiv 2505.10088): projections shared by layers except for a low rank, and mixed tokens.

Shapes: B images, C classes, n tokens, R their width, r and p ranks, l layers with tokens, T / V text / vision width, W
that of a side, E joint width.
"""

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.draws import draw_inside
from modprompt.clip.facts import called
from modprompt.clip.towers import CLIP, has_stock_image, image_width, joint_width, text_width
from modprompt.engine.class_prompts import class_prompts
from modprompt.engine.model import Output
from modprompt.engine.prompts import Additions, Prompts, template_texts
from modprompt.engine.read_out import MeanTokens
from modprompt.engine.schedule import BEHIND_LN_PRE, BEHIND_POSITIONS, CARRY, MOST_TOKENS, Schedule, Schedules, Shape
from modprompt.engine.schedule import Step as LayerStep
from modprompt.engine.token_updates import Mixed
from modprompt.errors import SettingError, UserError
from modprompt.fields import Must, setting
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Logging, Repository, Results, RunFacts, SavedAs, Training, own_scale
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.parts.losses import ClassTeacher, FrozenCLIP, Objective, Term, mean_class_features

AUTO, FUSED, CLASS = "auto", "fused", "class"
B2N, FEW_SHOT, CROSS = "B2N", "FS", "CD"
_MOST_WIDTH = 1 << 16
PUBLISHED: dict[str, dict[str, Any]] = {  # trainers/config.py of yunncheng/MMRL at 27d8821; tuned there by data set
    "StanfordCars": {"REG_WEIGHT": 7.0},
    "FGVCAircraft": {"REG_WEIGHT": 6.0},
    "SUN397": {"REG_WEIGHT": 6.0},
    "DescribableTextures": {"REG_WEIGHT": 6.0},
    "Food101": {"REG_WEIGHT": 5.0},
    "OxfordFlowers": {"REG_WEIGHT": 4.0},
    "UCF101": {"REG_WEIGHT": 3.0},
    "ImageNet": {"REG_WEIGHT": 0.5},
    "Caltech101": {"REG_WEIGHT": 0.5},
    "OxfordPets": {"REG_WEIGHT": 0.2},
    "EuroSAT": {"REG_WEIGHT": 0.01, "REP_DIM": 2048},
}


def _are_layers(value: Any) -> bool:
    whole = isinstance(value, (list, tuple)) and all(type(one) is int and one > 0 for one in value)
    return whole and list(value) == sorted(set(value))


@dataclass(frozen=True, repr=False)
class MMRL(Method):
    """MMRL: tokens projected for upper layers of both sides; they also give each image a second feature."""

    node = "TRAINER.MMRL"
    saved_as = SavedAs("MultiModalRepresentationLearner", "representation_learner.")
    logging = Logging(accuracy=True)
    not_searched = "REP_LAYERS sets the layers with tokens"
    wants_vision = True
    repository = Repository(shared={"TASK": "TASK"})
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = PUBLISHED

    alpha: float = setting(
        0.7,
        "the weight of the logits of the class token in the fused logits; the logits of the representation "
        "tokens have the weight 1 - ALPHA",
        least=0,
    )
    reg_weight: float = setting(
        1.0,
        "the weight of the distances between the learned and CLIP's original features of images and classes",
        least=0,
        compared=False,
    )
    rep_layers: Sequence[int] = setting(
        (),
        "the list of layers in both encoders, counted from 1, that receive representation tokens",
        must=Must(_are_layers, "a list of layers, counted from 1, in ascending order"),
    )
    # a test uses the checkpoint's
    rep_dim: int = setting(
        512, "the width of the shared representation space", least=1, most=_MOST_WIDTH, compared=False
    )
    n_rep_tokens: int = setting(
        5, "the number of representation tokens in each of these layers", least=1, most=MOST_TOKENS
    )
    literal_scale: float = setting(
        0.0,
        "the logit scale, a factor on the cosine similarities; 0 uses exp(logit_scale) of the CLIP model; "
        "the paper uses 100",
        least=0,
    )
    logits: str = setting(
        "auto",
        "the logits of a test: fused, class (class token only), or auto for fused logits on the classes of "
        "the training and class-token logits on other classes",
        choices=(AUTO, FUSED, CLASS),
        compared=False,
    )
    task: str = setting(
        "",
        "the rule of the original code for LOGITS in a run : B2N for base-to-new, FS for few-shot, CD for "
        "cross-data-set; empty applies LOGITS only",
        choices=("", B2N, FEW_SHOT, CROSS),
        compared=False,
    )
    per_dataset: str = setting(
        "",
        "the source of the values for each data set: published uses the values of the original code; empty "
        "uses the configured values",
        choices=("", "published"),
        compared=False,
    )
    template: str = setting(
        "",
        "the template of the prompts, with {} for the class name; empty uses the template of the data set",
        kept=True,
    )

    def check(self) -> None:
        super().check()
        templates.require_place("TEMPLATE", self.template)
        if self.alpha > 1:
            raise SettingError([("ALPHA", f" must be at most 1, got {self.alpha}.")])

    @property
    def training(self) -> Training:
        return Training(exact_weights=bool(self.reg_weight))  # for the frozen class features

    def schedules(self, shape: Shape) -> Schedules:
        """New tokens at the first of the layers, which others replace at the later ones, alike on both sides.

        Raises:
            SettingError: if there are no layers, or a side has fewer.
        """
        layers = min(shape)
        if not self.rep_layers or self.rep_layers[-1] > layers:
            range_of = f"layers from 1 to {layers}, because both encoders must have these layers"
            raise SettingError([("REP_LAYERS", f" must be {range_of}, got {[*self.rep_layers]}.")])
        text, vision = (list(map(self._step, range(1, count + 1))) for count in shape)
        return Schedules(Schedule(text, "text", BEHIND_POSITIONS), Schedule(vision, "vision", BEHIND_LN_PRE))

    def _step(self, layer: int) -> LayerStep:
        if layer not in self.rep_layers:
            return CARRY
        return LayerStep(0 if layer == self.rep_layers[0] else self.n_rep_tokens, self.n_rep_tokens)

    def words(self, dataset: str) -> str:
        """The template of a data set's prompts."""
        return self.template or templates.OF_DATASETS.get(dataset, templates.DEFAULT)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "RepresentationLearner":
        """The tokens and their projections.

        Raises:
            UserError: if the image side is a tower of another package, whose tokens cannot be read.
        """
        if not has_stock_image(clip_model):
            raise UserError(
                f"{type(self).__name__} does not support {called(clip_model)}, because the method needs a vision "
                "transformer like those of the `clip` package."
            )
        kind = self.learner_class
        return kind(classes.names, clip_model, schedules, self, self.words(classes.dataset))

    @property
    def learner_class(self) -> "type[RepresentationLearner]":
        """The class of the learner."""
        return RepresentationLearner

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        other = copy.copy(learner)
        other.templates = (self.words(classes.dataset),)
        return super().for_classes(other, clip_model, classes)

    def objective(self, model: PromptedModel) -> Objective:
        made = Objective((Term("class", self.alpha, _own_entropy), Term("read out", 1 - self.alpha, _read_entropy)))
        if not self.reg_weight:
            return made
        template = self.words(model.classes.dataset)
        features = mean_class_features(FrozenCLIP(model.exact_clip()), model.classes.names, (template,))
        frozen = FrozenCLIP(model.clip_model, model.stream)
        return made.plus(
            Term("image teacher", self.reg_weight, ImageTeacher(frozen)),
            Term("class teacher", self.reg_weight, ClassTeacher(features)),
            teachers=[frozen],
        )

    @classmethod
    def decides(cls, settings: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
        """What PER_DATASET and TASK mean for a run; CLIP's own scale, where it differs from OpenAI's."""
        found = dict(cls.published_for(settings.get("TASK", ""), facts)) if settings.get("PER_DATASET") else {}
        if settings.get("PER_DATASET") and facts.dataset not in cls.published and not facts.tests:
            warnings.warn(
                "Setting PER_DATASET to published has no effect, because the original code defines no values for "
                f"{facts.dataset}.",
                stacklevel=5,
            )
        return {**found, **logits_of_task(settings.get("TASK", ""), facts), **own_scale(settings, facts)}

    @classmethod
    def published_for(cls, task: str, facts: RunFacts) -> Mapping[str, Any]:
        """The repository's values for a run; a test uses the checkpoint's width."""
        found = cls.published.get(facts.dataset, {})
        return {key: value for key, value in found.items() if not (facts.tests and key == "REP_DIM")}


def logits_of_task(task: str, facts: RunFacts) -> dict[str, str]:
    """LOGITS by the repository's rule; nothing for a training on classes whose logits are fused, as by auto."""
    fused = {B2N: facts.classes == "base", FEW_SHOT: True, CROSS: facts.dataset == "ImageNet"}
    if task not in fused:
        return {}
    if facts.tests:
        return {"LOGITS": FUSED if fused[task] else CLASS}
    return {} if fused[task] else {"LOGITS": CLASS}


def _own_entropy(output: Output, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(output.each[0].float(), labels)


def _read_entropy(output: Output, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(output.each[1].float(), labels)


@dataclass(eq=False)
class ImageTeacher:
    """One minus the mean cosine of the image features and the frozen CLIP's, for the same images.

    Args:
        frozen: the CLIP without prompts.
    """

    frozen: FrozenCLIP

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """For images (B, 3, H, W): from 0, all alike, to 2."""
        return 1 - F.cosine_similarity(output.image.float(), self.frozen.encode_image(images).float(), dim=-1).mean()


class FusedLogits(nn.Module):
    """Logits by an image's own feature and by the one that is read out, and their combination; no parameters.

    Args:
        alpha: weight of the former.
        rule: LOGITS.
        auto: what the rule auto means for these classes.
    """

    def __init__(self, alpha: float, rule: str, auto: str):
        super().__init__()
        self.alpha = alpha
        self.counts, self.auto = (auto if rule == AUTO else rule), auto
        self.said = self.counts if self.counts == auto else f"{self.counts}, by LOGITS {rule} (auto: {auto})"

    def each(self, image: Tensor, text: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Both logits (B, C) from unit features (B, 2 E) and class features (C, E)."""
        both: Tensor = (scale * image).unflatten(1, (2, text.shape[-1])) @ text.t()  # (B, 2, C)
        return both.unbind(1)

    def made_of(self, each: tuple[Tensor, ...]) -> Tensor:
        """The logits that count."""
        own, read = each
        return self.alpha * own + (1 - self.alpha) * read if self.counts == FUSED else own

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return self.made_of(self.each(image, text, scale))


class RepresentationLearner(Learner):
    """Tokens (n, R), for each listed layer a projection of them to each side, and the projection of what is read out.

    Random draws: the last within the constructor of CLIP, and of a second one; then the tokens, a projection to the
    vision side and one to the text side, from which those of all layers start.

    Args:
        settings: REP_DIM, N_REP_TOKENS, and the settings of logits.
        template: words of the prompts.

    Raises:
        UserError: if a prompt is longer than the text context.
    """

    reads = True
    bound = False
    logits: FusedLogits
    trained_on: tuple[str, ...] | None

    # the reference keeps the embedded prompts of its classes, and all of CLIP
    not_read = ("prompt_embeddings",)

    def __init__(
        self, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules, settings: MMRL, template: str
    ):
        super().__init__(schedules, "")
        self.settings, self.templates = settings, (template,)
        self.literal_scale = settings.literal_scale
        self.trained_on = tuple(classnames)
        self._draw_read_out(clip_model)
        tokens = torch.empty(settings.n_rep_tokens, settings.rep_dim)
        self.compound_rep_tokens = nn.Parameter(nn.init.normal_(tokens, std=0.02))
        to_vision = nn.Linear(settings.rep_dim, image_width(clip_model))
        to_text = nn.Linear(settings.rep_dim, text_width(clip_model))
        self._make_projections(to_vision, to_text, len(settings.rep_layers))
        self.register_buffer("ctx", torch.empty(0, text_width(clip_model), dtype=clip_model.dtype), persistent=False)
        self.put_in(classnames, clip_model)

    @property
    def beginning(self) -> str:
        return f"Prompt templates ({len(self.templates)}): {' | '.join(self.templates)}"

    # ------------------------------ where MMRL++ differs

    def _draw_read_out(self, clip_model: CLIP) -> None:
        shape = image_width(clip_model), joint_width(clip_model)
        drawn = [draw_inside(clip_model, lambda: shape[0] ** -0.5 * torch.randn(shape)) for _ in range(2)]
        self.proj_rep = nn.Parameter(drawn[0])

    def _make_projections(self, to_vision: nn.Linear, to_text: nn.Linear, layers: int) -> None:
        self.compound_rep_tokens_r2vproj = nn.ModuleList(copy.deepcopy(to_vision) for _ in range(layers))
        self.compound_rep_tokens_r2tproj = nn.ModuleList(copy.deepcopy(to_text) for _ in range(layers))

    def _projected(self) -> tuple[list[Any], list[Any]]:
        """For each listed layer, what the text side and what the vision side is given."""
        sides = self.compound_rep_tokens_r2tproj, self.compound_rep_tokens_r2vproj
        text, vision = ([project(self.compound_rep_tokens) for project in side] for side in sides)
        return text, vision

    def _read(self) -> MeanTokens:
        return MeanTokens(self.proj_rep)

    # ------------------------------ the same for both

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        (template,) = self.templates
        texts = template_texts(classnames, template)
        self.prompt_text = class_prompts(texts, classnames, 0, clip_model, dtype=self.words_type)
        self.names = tuple(classnames)
        self._choose_logits()

    def _choose_logits(self) -> None:
        auto = FUSED if set(self.names) == set(self.trained_on or ()) else CLASS
        settings = self.settings
        self.logits = FusedLogits(settings.alpha, settings.logits, auto)

    def learned_on(self, classes: Classes) -> None:
        """Fuse logits for classes of these names; warn if a file does not say them."""
        self.trained_on = classes.names
        self._choose_logits()
        if not classes.names and self.reads and self.settings.logits == AUTO:
            warnings.warn(
                "The checkpoint does not record its training classes, so only the logits of the class token are "
                "used. If the current classes are the training classes, set LOGITS to fused.",
                stacklevel=4,
            )

    def said_of(self, names: Sequence[str]) -> str:
        trained_on, rule = set(self.trained_on or ()), self.settings.logits
        if rule == FUSED or (rule == AUTO and set(names) == trained_on):
            return ""
        why = (
            "these are not the classes of the training"
            if trained_on
            else "the classes of the training are not recorded"
        )
        return f"The logits are those of the class token only ({'LOGITS class' if rule == CLASS else why})."

    def mark(self) -> str:
        logits, task = self.logits, self.settings.task
        return f"logits by TASK {task}" if self.reads and task and logits.counts != logits.auto else ""

    def forward(self) -> Prompts:
        each = zip(self._projected(), self.schedules)
        text, vision = (_at_layers(own, self.settings.rep_layers, len(side)) for own, side in each)
        return Prompts(self.prompt_text(self.ctx), text, vision, read=self._read())

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        """Use the file's width of the tokens, with a warning."""
        mine, theirs = self.compound_rep_tokens, state.get("compound_rep_tokens")
        if theirs is None or theirs.dim() != 2 or theirs.shape[1] == mine.shape[1]:
            return
        width = theirs.shape[1]
        for name, one in self.named_parameters():
            wide = name.endswith(("tokens", "weight", ".B"))
            if wide and name in state and state[name].shape == (*one.shape[:-1], width):
                one.data = one.data.new_zeros(state[name].shape)
        here = self.settings.rep_dim
        if not self.settings.per_dataset:  # with which a test uses the file's width
            warnings.warn(
                f"REP_DIM is {width} in the checkpoint, but {here} in this configuration. The value of the checkpoint "
                "is used.",
                stacklevel=5,
            )

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints of the family, where the read-out's projection is inside the encoder."""
        return name if "." in name or name == "compound_rep_tokens" else f"image_encoder.{name}"


def _at_layers(own: Sequence[Any], layers: Sequence[int], count: int) -> Additions:
    """What each of `count` layers is given, from what the listed ones are given."""
    at: dict[int, Any] = dict(zip(layers, own))
    return [at.get(layer) for layer in range(1, count + 1)]


_MOST_RANK = 1 << 12
PUBLISHED_PP = {  # for base-to-new and few-shot runs, as for MMRL
    "ImageNet": {"BETA": 0.9, "REG_WEIGHT": 0.2},
    "FGVCAircraft": {"BETA": 0.9, "REG_WEIGHT": 2.0},
    "UCF101": {"BETA": 0.9, "REG_WEIGHT": 3.0},
    "DescribableTextures": {"BETA": 0.9, "REG_WEIGHT": 7.0},
    "OxfordPets": {"BETA": 0.7, "REG_WEIGHT": 0.01},
    "StanfordCars": {"BETA": 0.7, "REG_WEIGHT": 6.0},
    "Caltech101": {"BETA": 0.6, "REG_WEIGHT": 3.0},
    "SUN397": {"BETA": 0.5, "REG_WEIGHT": 3.0},
    "OxfordFlowers": {"BETA": 0.4, "REG_WEIGHT": 7.0},
    "EuroSAT": {"BETA": 0.2, "REG_WEIGHT": 0.01},
    "Food101": {"BETA": 0.1, "REG_WEIGHT": 1.0},
}
PUBLISHED_CROSS = {"ImageNet": {"BETA": 0.9, "REG_WEIGHT": 0.1}}  # for the training of cross-data-set runs
PUBLISHED_TARGETS = {  # BETA of their tests, tuned on the targets
    "ImageNetV2": 0.9,
    "ImageNetR": 0.9,
    "ImageNetA": 0.8,
    "ImageNetSketch": 0.7,
    "FGVCAircraft": 0.9,
    "UCF101": 0.9,
    "SUN397": 0.7,
    "OxfordPets": 0.6,
    "Caltech101": 0.6,
    "DescribableTextures": 0.5,
    "OxfordFlowers": 0.4,
    "StanfordCars": 0.3,
    "EuroSAT": 0.3,
    "Food101": 0.3,
}


@dataclass(frozen=True, repr=False)
class MMRLpp(MMRL):
    """MMRL++: MMRL with low-rank projections, and tokens that are mixed with those that they replace."""

    node = "TRAINER.MMRLpp"
    logging = Logging(accuracy=True)
    published = PUBLISHED_PP

    beta: float = setting(
        0.9, "the weight of the new tokens of a layer when mixed with the tokens that they replace", least=0
    )
    test_beta: float = setting(
        0.0,
        "another BETA for tests, which the authors tuned on test images, so results are marked; 0 uses BETA",
        least=0,
        compared=False,
    )
    proj_lora_dim: int = setting(
        64, "the rank of the matrices added to CLIP's image projection", least=1, most=_MOST_RANK
    )
    res_lora_dim: int = setting(
        4, "the rank of the matrices that each layer adds to the shared projection", least=1, most=_MOST_RANK
    )

    def check(self) -> None:
        super().check()
        for key, value in (("BETA", self.beta), ("TEST_BETA", self.test_beta)):
            if value > 1:
                raise SettingError([(key, f" must be at most 1, got {value}.")])

    @property
    def learner_class(self) -> type[RepresentationLearner]:
        return LowRankRepresentationLearner

    @property
    def share(self) -> float:
        """The share of a layer's new tokens."""
        return self.test_beta or self.beta

    @property
    def results(self) -> Results:
        return Results(mark="tuned on test" if self.test_beta else "")  # chosen by its images

    @classmethod
    def published_for(cls, task: str, facts: RunFacts) -> Mapping[str, Any]:
        """As in MMRL; for a cross-data-set test TEST_BETA."""
        if task != CROSS:
            return super().published_for(task, facts)
        found: dict[str, Any] = dict(PUBLISHED_CROSS.get(facts.dataset, {}))
        if facts.tests and facts.dataset in PUBLISHED_TARGETS:
            found["TEST_BETA"] = PUBLISHED_TARGETS[facts.dataset]
        return found


class LowRank(nn.Module):
    """What a layer adds to a shared projection (W, R): A B, and a bias of its own; draws A.

    Args:
        shared: the projection's first values.
        rank: r.
    """

    def __init__(self, shared: nn.Linear, rank: int):
        super().__init__()
        width, dim = shared.weight.shape
        self.A = nn.Parameter(_uniform(width, rank))
        self.B = nn.Parameter(torch.zeros(rank, dim))
        self.bias = nn.Parameter(shared.bias.detach().clone())


class SharedProjection(nn.Module):
    """A projection (W, R) of tokens for all layers, and what each adds to it.

    Args:
        shared: its first values.
        layers: their number.
        rank: of what each layer adds.
    """

    def __init__(self, shared: nn.Linear, layers: int, rank: int):
        super().__init__()
        self.weight = nn.Parameter(shared.weight.detach().clone())
        self.srra = nn.ModuleList(LowRank(shared, rank) for _ in range(layers))

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """(n, W) for each layer, from tokens (n, R)."""
        owns: Sequence[Any] = list(self.srra)
        return [F.linear(tokens, self.weight + own.A @ own.B, own.bias) for own in owns]


class LowRankRepresentationLearner(RepresentationLearner):
    """MMRL++'s: projections that a side's layers share but for a low rank, and CLIP's own plus a low rank to read out.

    Random draws as in RepresentationLearner, with A in place of the read-out's projection; at the end the layers' A,
    the vision side's first.
    """

    settings: MMRLpp

    @property
    def images_by(self) -> str:  # type: ignore[override]
        return f"{self.settings.share:g} of new tokens"

    def _draw_read_out(self, clip_model: CLIP) -> None:
        rank = self.settings.proj_lora_dim
        width, joint = image_width(clip_model), joint_width(clip_model)
        drawn = [draw_inside(clip_model, lambda: _uniform(width, rank)) for _ in range(2)]
        self.A, self.B = nn.Parameter(drawn[0]), nn.Parameter(torch.zeros(rank, joint))

    def _make_projections(self, to_vision: nn.Linear, to_text: nn.Linear, layers: int) -> None:
        self.srra_r2vproj = SharedProjection(to_vision, layers, self.settings.res_lora_dim)
        self.srra_r2tproj = SharedProjection(to_text, layers, self.settings.res_lora_dim)

    def _projected(self) -> tuple[list[Any], list[Any]]:
        sides = self.srra_r2tproj, self.srra_r2vproj
        text, vision = (self._mixed(side(self.compound_rep_tokens)) for side in sides)
        return text, vision

    def _mixed(self, each: list[Tensor]) -> list[Any]:
        share = self.settings.beta if self.training else self.settings.share  # TEST_BETA is for tests
        return each if share == 1 else [each[0], *(Mixed(tokens, share) for tokens in each[1:])]

    def _read(self) -> MeanTokens:
        return MeanTokens(self.A @ self.B, added=True)


def _uniform(rows: int, rank: int) -> Tensor:
    """(rows, rank), drawn between +-rank^-0.5."""
    return nn.init.kaiming_uniform_(torch.zeros(rows, rank), a=math.sqrt(5))
