"""Groups of settings that methods share, each with what it does."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from modprompt.clip.towers import CLIP
from modprompt.engine.pooling import EMBEDDINGS, LOGITS
from modprompt.engine.schedule import MOST_TOKENS, PLACES, Schedule, Schedules, Shape, from_config, replacement
from modprompt.errors import SettingError, UserError
from modprompt.fields import Steps, setting
from modprompt.io import descriptions
from modprompt.io.identity import DESCRIPTIONS, SENTENCES
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import SavedAs, Training
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.parts.losses import (
    ClassTeacher,
    FrozenCLIP,
    LogitsTeacher,
    Objective,
    Projected,
    SelfRegularisation,
    Term,
    Weights,
    mean_class_features,
)
from modprompt.methods.parts.templates import DIVERSE
from modprompt.methods.parts.text import MODES, Described, Sentences


@dataclass(frozen=True, repr=False)
class LearnedText(Method):
    """Prompts on the text side, by the method's own rule or layer by layer; optionally a teacher of class features."""

    teacher_words: ClassVar[Mapping[str, str]] = templates.KGCOOP  # by data set

    schedule_text: Steps = setting(
        (),
        "the schedule of the text encoder, a list of [remove, add] pairs per layer or @file; empty uses the "
        "method's own rule",
    )
    place_text: str = setting(
        "",
        "the position of the text prompt tokens; empty uses the method's own position",
        choices=("", *PLACES["text"]),
    )
    kg_weight: float = setting(
        0.0,
        "the weight of the KgCoOp loss, the distance between the learned and CLIP's original class features; "
        "0 disables this loss",
        least=0,
        compared=False,
    )
    prograd_lambda: float = setting(
        0.0,
        "the fraction of a gradient step that is removed where the step conflicts with CLIP's original "
        "logits (ProGrad); 0 removes nothing",
        least=0,
        compared=False,
    )
    prograd_t: float = setting(
        1.0, "the temperature of the divergence from CLIP's original logits (ProGrad)", compared=False
    )
    teacher_template: str = setting(
        "",
        "the template of CLIP's original class features, with {} for the class name; empty uses the template "
        "of the data set",
        compared=False,
    )

    def check(self) -> None:
        super().check()
        key = {one.field: one.key for one in self.settings()}
        templates.require_place(key["teacher_template"], self.teacher_template)
        if self.prograd_t <= 0:
            raise SettingError([(key["prograd_t"], f" must be greater than 0, got {self.prograd_t}.")])

    def template(self, dataset: str) -> str:
        """The words of the teacher's class features, with {} for the name."""
        return self.teacher_template or self.teacher_words.get(dataset, templates.DEFAULT)

    @property
    def training(self) -> Training:
        """Return the training options; the features of the teacher need the exact weights of CLIP."""
        base = super().training
        exact = bool(self.kg_weight or self.prograd_lambda) or base.exact_weights
        return base._replace(exact_weights=exact)

    def objective(self, model: PromptedModel) -> Objective:
        """The base's objective, with class features near the teacher's, and steps that do not go against its logits."""
        made = super().objective(model)
        if not (self.kg_weight or self.prograd_lambda):
            return made
        template = self.template(model.classes.dataset)
        features = mean_class_features(FrozenCLIP(model.exact_clip()), model.classes.names, (template,))
        if self.kg_weight:
            made = made.plus(Term("class_teacher", self.kg_weight, ClassTeacher(features)))
        if self.prograd_lambda:
            frozen = FrozenCLIP(model.clip_model, model.stream) if self.wants_vision else None
            teacher = LogitsTeacher(features, model.logit_scale, self.prograd_t, frozen)
            rule = Projected(teacher, self.prograd_lambda, model.prompt_learner.parameters)
            made = made.plus(teachers=[] if frozen is None else [frozen])._replace(rule=rule)
        return made

    def sides(self, shape: Shape) -> Schedules:
        return _placed(super().sides(shape), "text", self.place_text)


@dataclass(frozen=True, repr=False)
class PromptsVision(Method):
    """Prompts on the vision side, by the method's own rule or layer by layer."""

    schedule_vision: Steps = setting(
        (),
        "the schedule of the image encoder, a list of [remove, add] pairs per layer or @file; empty uses the "
        "method's own rule",
    )
    place_vision: str = setting(
        "",
        "the position of the image prompt tokens of layer 0; empty uses the method's own position",
        choices=("", *PLACES["vision"]),
    )

    def sides(self, shape: Shape) -> Schedules:
        return _placed(super().sides(shape), "vision", self.place_vision)

    @property
    def wants_vision(self) -> bool:
        return True


def written_out(side: str, steps: Steps, layers: int, n_ctx: int, name: str) -> Schedule | None:
    """The schedule that SCHEDULE_TEXT or SCHEDULE_VISION lists, or None.

    Args:
        side: "text" or "vision".
        steps: as written.
        layers: of that side.
        n_ctx: what layer 0 must add.
        name: the setting that gives n_ctx.

    Raises:
        SettingError: as from_config; an empty `name` lets layer 0 add any number.
    """
    try:
        return from_config(steps, layers, side, n_ctx, name) if steps else None
    except UserError as error:
        raise SettingError([(f"SCHEDULE_{side.upper()}", f": {error}")]) from None


def _placed(schedules: Schedules, side: str, place: str) -> Schedules:
    schedule = getattr(schedules, side)
    if place and not schedule.depth:
        raise SettingError(
            [
                (
                    f"PLACE_{side.upper()}",
                    f" has no effect, because the schedule adds no {side} prompt tokens. Remove PLACE_{side.upper()}.",
                )
            ]
        )
    return schedules._replace(**{side: schedule.at(place)})


@dataclass(frozen=True, repr=False)
class Regularised(Method):
    """PromptSRC's self-regularisation (arXiv 2307.06948): three more losses, and an average over epochs."""

    text_loss_weight: float = setting(
        0.0,
        "the weight of the distance between the learned and CLIP's original class features",
        least=0,
        compared=False,
    )
    image_loss_weight: float = setting(
        0.0,
        "the weight of the distance between the learned and CLIP's original image features",
        least=0,
        compared=False,
    )
    logits_loss_weight: float = setting(
        0.0, "the weight of the divergence from CLIP's original logits", least=0, compared=False
    )
    gpa_mean: float = setting(
        15.0,
        "the epoch with the largest weight in the Gaussian average of the prompts over epochs (GPA)",
        compared=False,
    )
    gpa_std: float = setting(
        0.0,
        "the standard deviation, in epochs, of the Gaussian average of the prompts (GPA); 0 uses the prompts "
        "of the last epoch",
        least=0,
        compared=False,
    )

    def weights(self) -> Weights:
        """The weights of the three losses."""
        return Weights(self.text_loss_weight, self.image_loss_weight, self.logits_loss_weight)

    @property
    def training(self) -> Training:
        """The average, unless gpa_std is 0; the frozen class features need CLIP's exact weights."""
        base = super().training
        return base._replace(
            averaging=(self.gpa_mean, self.gpa_std) if self.gpa_std > 0 else None,
            exact_weights=any(self.weights()) or base.exact_weights,
        )

    def objective(self, model: PromptedModel) -> Objective:
        """The base's objective, and losses that keep features near the frozen ones."""
        before = super().objective(model)
        if not any(self.weights()):
            return before
        features = mean_class_features(FrozenCLIP(model.exact_clip()), model.classes.names, DIVERSE)
        frozen = FrozenCLIP(model.clip_model, model.stream)
        term = Term("regularisation", 1.0, SelfRegularisation(frozen, features, self.weights()))
        return before.plus(term, teachers=[frozen])


@dataclass(frozen=True, repr=False)
class Coupled(LearnedText, PromptsVision):
    """The text side replaces n_ctx tokens per layer; the vision side is the method's own."""

    saved_as = SavedAs("MultiModalPromptLearner")

    n_ctx: int = setting(
        2,
        "the number of context tokens, and of prompt tokens in each deeper layer of the text encoder",
        least=1,
        most=MOST_TOKENS,
    )
    prompt_depth: int = setting(9, "the number of layers in both encoders that receive prompts", layers_of="both")

    def vision_rule(self, layers: int) -> Schedule:
        """The vision side's schedule, unless schedule_vision is given; layer 0 adds n_ctx tokens."""
        raise NotImplementedError

    def schedules(self, shape: Shape) -> Schedules:
        text = written_out("text", self.schedule_text, shape.text_layers, self.n_ctx, "N_CTX")
        vision = written_out("vision", self.schedule_vision, shape.vision_layers, self.n_ctx, "N_CTX")
        text = text or replacement(shape.text_layers, self.prompt_depth, self.n_ctx, "text")
        return Schedules(text, vision or self.vision_rule(shape.vision_layers))


S = TypeVar("S", bound="WithSentences")


@dataclass(frozen=True, repr=False)
class WithSentences(Method):
    """Sentences that describe classes, from a file."""

    # the file itself is not compared: a test of other classes has another
    sentences: str = setting(
        "",
        "the class descriptions: a JSON file {class: [sentence, ...]}, the folder of a run (to use the class "
        "descriptions of its training), template for the template of the data set only, or digits for the "
        "bundled descriptions of digits; empty uses the original code's gpt_file/NAME_prompt.json (HiCroPL) "
        "or prompts/NAME.json (LightRA), and for digits the bundled file",
        compared=False,
        kept=True,
        content=SENTENCES,
    )

    content: ClassVar[Sentences | None] = None  # set on an instance from a checkpoint

    @classmethod
    def kept_values(cls, stated: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """Return the values that a test takes from the checkpoint: the sentences that it contains, not their file."""
        return {**super().kept_values(stated, folder), "sentences": folder}

    def prepared(self: S) -> S:
        """This method, after a check that a file of sentences, if one is named, can be read."""
        if self.sentences:
            self.sentences_of("")
        return self

    def sentences_of(self, dataset: str) -> Sentences:
        """The sentences of a data set.

        Raises:
            SettingError: if there are none.
        """
        if self.content is not None:
            return self.content
        try:
            return Sentences.of(self.sentences, dataset, type(self).__name__)
        except UserError as error:
            raise SettingError([("SENTENCES", str(error))]) from None

    def restore(self: S, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> S:
        """This method with the sentences of a checkpoint; no other file is opened.

        Raises:
            UserError: if the file lacks them.
        """
        mark = str(stated.get(SENTENCES, ""))
        return self.replace_private(content=Sentences.of_record(mark, classes.get("sentences"), path))

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        other = copy.copy(learner)
        other.sentences = self.sentences_of(classes.dataset)
        return super().for_classes(other, clip_model, classes)


M = TypeVar("M", bound="WithDescriptions")
_OF = {mode: pooled for pooled, mode in MODES.items()}


@dataclass(frozen=True, repr=False)
class WithDescriptions(Method):
    """Several prompts for each class, `NAME, which is/has PHRASE.`, with phrases from a file."""

    # the file's content is compared instead: `content_hashes`
    aspath: str = setting(
        "",
        "the JSON file of phrases {class: [phrase, ...]}, or X for descriptors/descriptors_X; the logit of a "
        "class is the mean over its phrases (AS)",
        compared=False,
        content=DESCRIPTIONS,
    )
    aepath: str = setting(
        "",
        "the JSON file of phrases {class: [phrase, ...]}, or X for descriptors/descriptors_X; the embedding "
        "of a class is the normalized mean over its phrases (AE)",
        compared=False,
        content=DESCRIPTIONS,
    )

    described: ClassVar[Described | None] = None  # set when the file was read

    def check(self) -> None:
        if self.aspath and self.aepath:
            raise SettingError(
                [
                    (
                        "ASPATH",
                        " and AEPATH are both set. Use ASPATH for the mean of logits or AEPATH for the mean of "
                        "embeddings.",
                    )
                ]
            )

    def prepared(self: M) -> M:
        """This method, with its file read.

        Raises:
            SettingError: if there is no such file, or it holds something else.
        """
        for key, path, pooled in (("ASPATH", self.aspath, LOGITS), ("AEPATH", self.aepath, EMBEDDINGS)):
            if path and self.described is None:
                try:
                    return self.describing(Described(descriptions.read(path), pooled))
                except UserError as error:
                    raise SettingError([(key, f": {error}")]) from None
        return self

    def describing(self: M, described: Described) -> M:
        """This method with phrases that were read already."""
        return self.replace_private(described=described)

    def metadata(self) -> dict[str, Any]:
        found = self.prepared().described
        return {**super().metadata(), **({} if found is None else {DESCRIPTIONS: str(found)})}

    def restore(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method as a checkpoint describes it, with the phrases from there; no other file is opened.

        Raises:
            UserError: if they are missing.
        """
        mode = str(stated.get(DESCRIPTIONS, "")).partition(" ")[0]
        if not (self.aspath or self.aepath or mode):
            return self
        phrases = classes.get("phrases")
        if mode not in _OF or not isinstance(phrases, dict):
            raise UserError(
                f"{path} is damaged: the phrases that describe its classes cannot be read. Use another copy of "
                "the file."
            )
        return self.describing(Described(descriptions.of_record(phrases, path), _OF[mode]))
