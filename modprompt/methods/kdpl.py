"""KDPL (arXiv 2407.03056): prompts learned from another CLIP's predictions for images, whose labels are not read."""

from collections.abc import Callable
from dataclasses import dataclass

from modprompt.clip.towers import CLIP
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import Must, changed, setting
from modprompt.methods.model import PromptedModel
from modprompt.methods.named_files import NONE
from modprompt.methods.parts.capabilities import Results
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.parts.losses import Objective, Term, cross_entropy
from modprompt.methods.parts.teachers import IMAGES, Distillation, Taught, TeacherLogits
from modprompt.methods.records import content_hashes
from modprompt.methods.together import Addition

LABELS_NOT_READ = (
    "The labels of the training images were not read, because the prompts learn from the predictions of "
    "a teacher (KDPL)."
)
_BOTH_WAYS = 0.5  # the weight of each divergence


@dataclass(frozen=True, repr=False)
class KDPL(Taught, Addition):
    """KDPL: a teacher in place of labels, for CoOp, CoCoOp, VPT, MaPLe, PromptSRC and MPL; not a method by itself."""

    node = "TRAINER.KDPL"
    prec = ""  # that of the method
    wants_text = False  # it changes only the loss

    joins: bool = setting(
        False, "trains the prompts of another method with the loss of the teacher if True", key="ON", compared=False
    )
    teacher_name: str = changed(Taught, "teacher_name", "ViT-H-14/dfn5b", key="TEACHER")
    teacher_ckpt: str = changed(Taught, "teacher_ckpt", NONE)
    class_agnostic: bool = setting(
        False,
        "a setting of the original code, which selects a vocabulary of class names; only False is supported",
        must=Must(lambda value: value is False, "False, because modprompt uses the class names of the run"),
        compared=False,
    )

    def schedules(self, shape: Shape) -> Schedules:
        raise UserError(
            "KDPL cannot be used alone. Add KDPL to a prompt-learning method, for example "
            "KDPL().over(modprompt.CoOp())."
        )

    @property
    def results(self) -> Results:
        return Results(notes=(LABELS_NOT_READ,))

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        """The learner, drawn twice as in the reference.

        Raises:
            SettingError: if classes have several prompts.
        """
        if learner.pooling is not None:
            raise SettingError(
                [
                    (
                        "ON",
                        " does not work with phrases (ASPATH, AEPATH), because the teacher "
                        "has a single prompt per class.",
                    )
                ]
            )
        return learner if self.teacher is None else again()

    def objective_beside(self, objective: Objective, model: PromptedModel) -> Objective:
        """The symmetric divergence from the teacher in place of cross entropy; other terms stay.

        Half of KL(teacher || student) and of KL(student || teacher), each summed over classes and averaged over images,
        both with the student's scale of logits.

        Raises:
            UserError: if the model comes from a checkpoint, without its teacher.
        """
        teacher = self.teacher_at_hand()
        if objective.rule is not None:
            raise UserError(
                "KDPL does not support ProGrad (PROGRAD_LAMBDA), which needs labels. Set PROGRAD_LAMBDA to 0."
            )
        said = TeacherLogits(teacher, model.classes, model, self.teacher_resize)
        of = Distillation(said, over=IMAGES, back=_BOTH_WAYS, scale=model.cosine_scale)
        terms = (Term("distillation", one.weight, of) if one.of is cross_entropy else one for one in objective.terms)
        return objective._replace(terms=tuple(terms), teachers=(*objective.teachers, said))

    def known_by(self) -> str:
        return f"KDPL({', '.join(f'{name} {text}' for name, text in content_hashes(self).items())})"
