"""A method whose learned part is a head on CLIP's features; its model is in headed_model.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from modprompt.clip.sides import joint_width
from modprompt.clip.structure import CLIP
from modprompt.engine.schedule import Schedules
from modprompt.errors import UserError
from modprompt.fields import setting
from modprompt.methods.heads.base import VAL, Head
from modprompt.methods.heads.headed_model import HeadedModel
from modprompt.methods.heads.prompted_head import BehindPrompts
from modprompt.methods.heads.search import Grid
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Searching
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.parts.objective import CROSS_ENTROPY, Objective, Term
from modprompt.methods.parts.templates import TemplatePrompts
from modprompt.methods.zeroshot import ZeroshotCLIP


@dataclass(frozen=True, repr=False)
class HeadMethod(BehindPrompts, ZeroshotCLIP):
    """Base of the methods that put a head on CLIP's features, with or without trained prompts.

    A subclass has its fields and `head`.
    """

    searching = Searching(refused="a head has no schedule")

    ensemble: str = setting(
        "",
        "templates of the class features; empty: the data set's own",
        choices=("", "selected", "selected and own"),
    )
    underscores: bool = setting(False, "keep _ in class names, as some references do; otherwise they become spaces")
    literal_scale: float = setting(0.0, "what cosines are multiplied by; 0: exp(logit_scale) of the CLIP", least=0)

    def head(self, names: Sequence[str], width: int) -> Head:
        """The head for classes of these names and features of this width, newly drawn from PyTorch's generator."""
        raise NotImplementedError

    def passes(self) -> int:
        """How many passes over the training images the head is built from."""
        return 0

    def kept_views(self) -> int:
        """How many views of the training images are kept and used in turn; 0: a new one in every epoch."""
        return 0

    def epochs(self, configured: int) -> int:
        """How many epochs it is trained for; `configured` is OPTIM.MAX_EPOCH."""
        return configured

    def grid(self) -> Grid | None:
        """What is searched on validation images after the training; None for nothing."""
        return None

    def searched_on(self) -> str:
        """Which images a search uses: VAL or TEST."""
        return VAL

    def best_on(self) -> str:
        """Which images decide the best epoch: VAL or TEST; empty to follow TEST.FINAL_MODEL."""
        return ""

    def last_of_equals(self) -> bool:
        """Whether the last of equally good epochs is the best; otherwise the first is."""
        return False

    def templates(self, dataset: str) -> list[str]:
        own = super().templates(dataset)
        return {"": own, "selected": [*templates.SELECTED], "selected and own": [*templates.SELECTED, *own]}[
            self.ensemble
        ]

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """Class names in the templates, or the prompts that the head is put on."""
        if self.front is not None:
            return super().learner(clip_model, classes, schedules)
        own = self.templates(classes.dataset)
        return TemplatePrompts(classes.names, clip_model, schedules, own, self.underscores)

    def model(self, learner: Learner, clip_model: CLIP, classes: Classes, epochs: int) -> HeadedModel:
        """The head on both sides of the CLIP."""
        head = self.head(classes.names, joint_width(clip_model))
        if learner.needs_image and not head.moves:
            raise UserError(
                f"{type(self).__name__} here starts from one feature of each class, but the prompts in "
                f"{self.prompts_from} make different ones for each image: use another head, or other prompts"
            )
        head.to(clip_model.logit_scale.device)
        return HeadedModel(self, learner, clip_model, classes, epochs, head)

    def objective(self, model: PromptedModel) -> Objective:
        """Cross-entropy, and the head's penalty."""
        headed = cast(HeadedModel, model)  # its head may have been replaced by then
        return CROSS_ENTROPY.plus(Term("penalty", 1.0, lambda *batch: headed.penalty()))
