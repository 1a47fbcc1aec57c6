"""PromptKD (arXiv 2403.02781): vision prompts and a projector imitate the logits of a larger CLIP on unlabelled images.

Shapes: B images, C classes, E joint width, E_t the teacher's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from modprompt.checks import at_least
from modprompt.clip.draws import draw_prompts_inside
from modprompt.clip.towers import CLIP, joint_width, text_width
from modprompt.engine.context import LONGEST_FROM_WORDS, no_context
from modprompt.engine.schedule import MOST_TOKENS, Schedules, Shape, no_prompts
from modprompt.errors import SettingError, UserError
from modprompt.fields import Must, changed, setting
from modprompt.io.files import Refused
from modprompt.io.result import TEST
from modprompt.io.tensors import require_learned
from modprompt.methods.ivlp import DeepVision
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import Repository, Results, RunFacts, SavedAs
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner, Learner
from modprompt.methods.parts.losses import Objective, Term
from modprompt.methods.parts.teachers import Distillation, Taught, TeacherLogits, exact_features

BASE_TO_NEW, CROSS = "base2novel", "cross"
SEEN_OF_NEW = "unlabelled images and names of new classes seen"
SEEN_OF_TARGET = "unlabelled images and names of the tested classes seen"
CLASS_FEATURES = "class_features"  # the teacher's, stored in a checkpoint with what is learned
_OF_TEACHER = (4, 9)  # tokens and depth of the prompts that the reference draws within its teacher, on both sides
_IN_REPOSITORY = {  # its places of the teacher's checkpoint, by MODAL
    BASE_TO_NEW: "teacher_model/{}/VLPromptLearner/model-best.pth.tar",
    CROSS: "teacher_model/ImageNet-xd/VLPromptLearner_large/model.pth.tar-20",
}


@dataclass(frozen=True, repr=False)
class PromptKD(Taught, DeepVision):
    """PromptKD: IVLP's vision side and a projector, with the teacher's class features."""

    node = "TRAINER.PROMPTKD"
    saved_as = SavedAs("VLPromptLearner", "")
    not_searched = "PromptKD uses the image prompts of IVLP. Search with IVLP"
    wants_text = False  # class features are the teacher's
    repository = Repository(
        shared={"TRAINER.MODAL": "MODAL", "TEACHER.RESIZE": "TEACHER_RESIZE"}, zero_shots_mean_all=True
    )

    n_ctx_vision: int = changed(DeepVision, "n_ctx_vision", 4)
    kd_weight: float = setting(
        1.0, "the weight of the distillation loss, the divergence from the teacher's logits", least=0, compared=False
    )
    temperature: float = setting(1.0, "the temperature that divides the logits of student and teacher", compared=False)
    modal: str = setting(
        "base2novel",
        "the protocol: base2novel trains on images of all classes and tests base and new classes separately, "
        "cross tests all classes together",
        choices=(BASE_TO_NEW, CROSS),
        compared=False,
    )
    choose_on: str = setting(
        "",
        "the images that select the best checkpoint: test uses test images of the base classes with "
        "TEST.FINAL_MODEL best_val, as in the original code; empty uses validation images",
        choices=("", TEST),
        compared=False,
    )
    n_ctx_text: int = setting(
        4,
        "the number of text tokens that the original code draws and discards; affects random numbers only",
        least=1,
        most=MOST_TOKENS,
        compared=False,
    )
    prompt_depth_text: int = setting(
        9,
        "the number of text layers for which the original code draws tokens; affects random numbers only",
        least=1,
        compared=False,
    )
    ctx_init: str = setting(
        "a photo of a",
        "the initial words of the teacher's context in the original code; if empty, the original code draws "
        "random numbers",
        compared=False,
    )
    project_layer: int = setting(
        2,
        "the number of layers of the projector; only 2 is supported",
        must=Must(lambda value: value == 2, "2, because only projectors with two layers are supported"),
        compared=False,
    )
    ce_weight: float = setting(
        0.0,
        "the weight of the cross-entropy loss on labels; only 0 is supported, because labels are not read",
        must=Must(lambda value: value == 0, "0, because PromptKD does not use labels"),
        compared=False,
    )

    def check(self) -> None:
        super().check()
        at_least("PROMPT_DEPTH_VISION", self.prompt_depth_vision, 1)
        if self.temperature <= 0:
            raise SettingError([("TEMPERATURE", f" must be greater than 0, got {self.temperature}.")])

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        return str(settings.get("CHOOSE_ON", ""))

    @property
    def results(self) -> Results:
        apart = self.modal == BASE_TO_NEW
        return Results(seen=SEEN_OF_NEW if apart else SEEN_OF_TARGET, halves_apart=apart)

    @classmethod
    def decides(cls, settings: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
        """The repository's place of the teacher for a data set, if no other place is given."""
        place = _IN_REPOSITORY.get(settings.get("MODAL", BASE_TO_NEW), "")
        return {"TEACHER_CKPT": place.format(facts.dataset)} if place and not settings.get("TEACHER_CKPT") else {}

    def schedules(self, shape: Shape) -> Schedules:
        return Schedules(no_prompts(shape.text_layers, "text"), self.vision_schedule(shape.vision_layers))

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "ProjectedLearner":
        """The student's prompts and projector, with the teacher's class features.

        Random draws: CLIP's constructor with the prompts of both sides in it, the vision side's being the
        student's; the teacher's likewise; the projector; the teacher's context, if that is random.

        Raises:
            UserError: if the teacher's prompts do not fit, or belong to other classes.
        """
        text = self.n_ctx_text, self.prompt_depth_text
        drawn, _ = draw_prompts_inside(clip_model, (self.n_ctx_vision, self.prompt_depth_vision), text)
        if self.teacher is None:  # from a checkpoint, which has all that is needed of it
            features = torch.zeros(len(classes.names), joint_width(clip_model))
        else:
            draw_prompts_inside(self.teacher.clip_model, _OF_TEACHER, _OF_TEACHER)
            features = exact_features(self.teacher, classes, clip_model.logit_scale.device).cpu()
        learner = ProjectedLearner(self, classes.names, clip_model, schedules, drawn, features)
        random_words = not self.ctx_init.strip() or self.n_ctx_text > LONGEST_FROM_WORDS
        if self.teacher is not None and random_words:
            nn.init.normal_(torch.empty(self.n_ctx_text, text_width(self.teacher.clip_model)), std=0.02)
        return learner

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        """The same for other classes: among the training's, or any if the teacher is there.

        Raises:
            UserError: if a class has no features.
        """
        if self.teacher is None or not learner.missing(classes.names):
            return super().for_classes(learner, clip_model, classes)
        features = exact_features(self.teacher, classes, learner.given_text.device).to(learner.given_text)
        return cast(ProjectedLearner, learner).before(classes.names, features, clip_model)

    def objective(self, model: PromptedModel) -> Objective:
        """The divergence from the teacher's logits.

        Raises:
            UserError: if the model comes from a checkpoint, without its teacher.
        """
        given = model.prompt_learner.given_text
        teacher = TeacherLogits(self.teacher_at_hand(), model.classes, model, self.teacher_resize, given)
        term = Term("distillation", self.kd_weight, Distillation(teacher, self.temperature))
        return Objective((term,), teachers=(teacher,))


class Projector(nn.Sequential):
    """Raw image features (B, E) to (B, E_t): 1x1 convolution, BatchNorm, ReLU, 1x1 convolution.

    Args:
        width: E.
        to: E_t.
    """

    def __init__(self, width: int, to: int):
        super().__init__(nn.Conv2d(width, to, 1), nn.BatchNorm2d(to), nn.ReLU(), nn.Conv2d(to, to, 1))

    def forward(self, features: Tensor) -> Tensor:
        """The projection of a batch; in training its BatchNorm uses the batch's statistics.

        Raises:
            UserError: on a training batch of one image, which has no statistics.
        """
        first, norm, relu, second = cast(Any, tuple(self))
        if self.training and len(features) < 2:
            raise UserError(
                "The training batch has 1 image, but the batch normalization of the projector needs at least 2. Set "
                "DATALOADER.TRAIN_X.BATCH_SIZE to 2 or more."
            )
        hidden = first(features.to(first.weight.dtype)[:, :, None, None])
        hidden = relu(norm(hidden.to(norm.weight.dtype))).to(second.weight.dtype)
        projected: Tensor = second(hidden)[:, :, 0, 0]
        return projected


class ProjectedLearner(IndependentPromptLearner):
    """Vision prompts, a projector, and given class features.

    Random draws: the projector's first, then its second convolution.

    Args:
        settings: CTX_INIT, for messages.
        drawn: initial values of layers of the vision side; others are drawn.
        class_features: the teacher's, (C, E_t) of length 1.
    """

    in_clip_type = ("projection.0.", "projection.3.")
    not_read = (CLASS_FEATURES,)
    given_text: Tensor
    projection: Projector

    def __init__(
        self,
        settings: PromptKD,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        drawn: Mapping[int, Tensor],
        class_features: Tensor,
    ):
        takes = {layer: len(prompt) for layer, prompt in drawn.items()} == {
            layer: step.add for layer, step in enumerate(schedules.vision) if step.add
        }  # else SCHEDULE_VISION has others
        with torch.random.fork_rng(devices=[], enabled=takes):
            super().__init__(classnames, clip_model, schedules, no_context(settings.ctx_init, clip_model))
        for layer, prompt in drawn.items() if takes else ():
            self.vision_prompts[str(layer)] = nn.Parameter(prompt)
        self.projection = Projector(joint_width(clip_model), class_features.shape[1])
        self.register_buffer("given_text", class_features, persistent=False)
        self.names, self._lacks_features = tuple(classnames), settings.teacher is None

    @property
    def beginning(self) -> str:
        return (
            f"Class features of the teacher: {' x '.join(map(str, self.given_text.shape))}, used in place of the "
            "text encoder"
        )

    def for_classes(self, classnames: Sequence[str], clip_model: CLIP) -> Learner:
        """The same with the class features of these classes, which must be among its own.

        Raises:
            UserError: if one is not.
        """
        missing = self.missing(classnames)
        if missing:
            raise UserError(
                f"This model cannot be used with the class {missing[0]!r}: its checkpoint contains the teacher's "
                f"features of {len(self.names)} classes, and this class is not among them."
            )
        return self.before(classnames, self.given_text[list(map(self.names.index, classnames))], clip_model)

    def missing(self, classnames: Sequence[str]) -> list[str]:
        """The names that have no class features here."""
        return [name for name in classnames if name not in self.names]

    def before(self, classnames: Sequence[str], class_features: Tensor, clip_model: CLIP) -> "ProjectedLearner":
        """The same parameters, shared, with other class features (C, E_t)."""
        other = cast(ProjectedLearner, super().for_classes(classnames, clip_model))
        other.given_text, other.names = class_features, tuple(classnames)
        return other

    def beside(self) -> dict[str, Tensor]:
        return {CLASS_FEATURES: self.given_text}

    def take_beside(self, state: Mapping[str, Tensor], path: str) -> None:
        """Take the class features from a checkpoint, where there is no teacher to make them.

        Raises:
            UserError: if there are none, or not one for each class.
        """
        if not self._lacks_features:
            return
        features = state.get(CLASS_FEATURES)
        try:
            if features is None:
                raise Refused(f"the entry {CLASS_FEATURES} is missing")
            require_learned({CLASS_FEATURES: features})
            if features.dim() != 2 or len(features) != len(self.names):
                shape, names = tuple(features.shape), len(self.names)
                raise Refused(
                    f"the entry {CLASS_FEATURES} has the shape {shape}, but must have a row for each of {names} classes"
                )
        except Refused as error:
            raise UserError(f"{path} is damaged ({error}). Use another copy of the file.") from None
        self.given_text = features.detach().to(self.given_text)

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        """Adopt the file's teacher width, if only the file has the teacher's class features."""
        bias, width = state.get("projection.3.bias"), self.given_text.shape[1]
        first, *_, last = cast(Any, tuple(self.projection))
        if bias is None or bias.shape != (width,) or last.bias.shape == bias.shape:
            return
        with torch.random.fork_rng(devices=[]):
            self.projection = Projector(first.in_channels, width).to(last.bias.device)

    @staticmethod
    def checkpoint_key(name: str) -> str:
        if name.startswith("projection."):
            return name.replace("projection.", "VPT_image_trans.conv1.", 1)
        return IndependentPromptLearner.checkpoint_key(name)
