"""A head on trained prompts: class and image features through these, in place of CLIP's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from modprompt.clip.structure import CLIP
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.io import checkpoint
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.checkpoint_files import run_or_file
from modprompt.io.same_run import PROMPTS_BEFORE
from modprompt.methods.assembly import learner_of
from modprompt.methods.base import Method
from modprompt.methods.loading import stated_method
from modprompt.methods.named_files import FRONT, prompts_hash
from modprompt.methods.parts.checkpoint_view import load_content, require_own_classes
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner
from modprompt.methods.records import made_with, of_clip, view_of
from modprompt.methods.search.learners import SearchLearner

M = TypeVar("M", bound="BehindPrompts")
TENSORS = "prompts."  # before the names of their tensors in a head's checkpoint
BASE = "enhanced_base"  # likewise, the text projection that replaces CLIP's
BESIDE = (TENSORS, BASE)  # how names of tensors begin that are stored beside a head's


class Front(NamedTuple):
    """Trained prompts that a head is put on.

    method: that of the prompts.
    stated: what their checkpoint says of the method.
    digest: twelve hex digits of their checkpoint.
    path: of their checkpoint, for messages.
    content: their checkpoint; None if the head's own has their tensors.
    selected_on: by which images anything of the prompts was chosen, if known.
    """

    method: Method
    stated: Mapping[str, Any]
    digest: str
    path: str
    content: Checkpoint | None = None
    selected_on: str = ""

    @classmethod
    def of(cls, path: str) -> "Front":
        """From a run's folder (its best epoch or its last), or a checkpoint.

        Raises:
            UserError: if there is none, it does not say its method, or it has no trained prompts.
        """
        file = checkpoint.chosen_checkpoint(run_or_file(path))
        content = checkpoint.read(file)
        if not content.record:
            raise UserError(f"{file} does not say which method its prompts belong to: train them with this project")
        stated = content.record["method"]
        method = stated_method(stated, content.record["classes"], file)
        if isinstance(method, BehindPrompts) or method.search is not None:
            raise UserError(f"{file} belongs to {stated['name']}: a head is put on trained prompts")
        chosen = str(content.record.get("run", {}).get("selected_on", ""))
        return cls(method, stated, prompts_hash(file), file, content, chosen)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """The prompts for these classes, frozen. Random generators stay as they are.

        Raises:
            UserError: if they belong to another CLIP or to other classes (CSC), or have several prompts a class.
        """
        if not classes.dataset and self.content is not None:
            classes = classes._replace(dataset=self.content.record["classes"].get("dataset", ""))
        with torch.random.fork_rng(devices=[]):
            learner = learner_of(self.method, clip_model, classes, schedules)
        name = type(self.method).__name__
        if learner.pooling is not None or isinstance(learner, SearchLearner):
            raise UserError(f"{name} here has several prompts a class: no head can be put on these")
        if hasattr(learner, "given_text"):
            raise UserError(f"{name} has class features of another CLIP: no head can be put on these")
        if self.content is not None:
            self._fill(learner, self.content, clip_model, classes)
        learner.requires_grad_(False)
        learner.trains_text = learner.reads = False  # a head reads class features and the images' own
        return learner

    def _fill(self, learner: Learner, content: Checkpoint, clip_model: CLIP, classes: Classes) -> None:
        load_content(view_of(self.method, learner), content, self.path, made_with(self.method, of_clip(clip_model)))
        if learner.bound:
            require_own_classes(content, classes.names, self.path)

    def fill(self, learner: Learner, state: Mapping[str, Tensor], path: str) -> None:
        """Load the prompts from a head's checkpoint."""
        content = Checkpoint(prompts_of(state), 0, {}, "", {}, {}, {})
        load_content(view_of(self.method, learner), content, path)


@dataclass(frozen=True, repr=False)
class BehindPrompts(Method):
    """A method whose features may pass through trained prompts."""

    # what is compared is the prompts themselves: `content_hashes`
    prompts_from: str = setting(
        "",
        "a run's folder, or a checkpoint, of trained prompts that the head is put on; empty: CLIP alone",
        compared=False,
    )

    front: ClassVar[Front | None] = None  # set on an instance that is prepared

    def prepared(self: M) -> M:
        """This method, with its prompts read.

        Raises:
            SettingError: if there are none.
        """
        if not self.prompts_from or self.front is not None:
            return self
        try:
            return self.replace_private(front=Front.of(self.prompts_from))
        except UserError as error:
            raise SettingError([("PROMPTS_FROM", f": {error}")]) from None

    def metadata(self) -> dict[str, Any]:
        """The hash of the prompts, and what their checkpoint says of their method."""
        front = self.prepared().front
        own = {} if front is None else {PROMPTS_BEFORE: front.digest, FRONT: dict(front.stated)}
        return {**super().metadata(), **own}

    def restore(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method as a file describes it, on the prompts from that file; no other file is opened.

        Raises:
            UserError: if the file lacks them.
        """
        if not self.prompts_from:
            return self
        of_prompts = stated.get(FRONT)
        if not isinstance(of_prompts, dict):
            raise UserError(f"{path} is damaged (the prompts before its head): use another copy of it")
        method = stated_method(of_prompts, classes, path)
        return self.replace_private(front=Front(method, of_prompts, str(stated.get(PROMPTS_BEFORE)), path))

    def beside(self, model: Any) -> dict[str, Tensor]:
        """The tensors stored beside the head in a checkpoint: the prompts'."""
        if self.front is None:
            return {}
        view = view_of(self.front.method, model.prompt_learner)
        return {TENSORS + name: one for name, one in view.state_dict().items()}

    def take_beside(self, model: Any, state: Mapping[str, Tensor], path: str) -> None:
        """Load these from a checkpoint.

        Raises:
            UserError: if they are missing, or do not fit.
        """
        if self.front is not None:
            self.front.fill(model.prompt_learner, state, path)

    @property
    def wants_text(self) -> bool:
        return super().wants_text if self.front is None else self.front.method.wants_text

    @property
    def wants_vision(self) -> bool:
        return self.front is not None and self.front.method.wants_vision

    def schedules(self, shape: Shape) -> Schedules:
        """Those of the prompts' method."""
        return super().schedules(shape) if self.front is None else self.front.method.sides(shape)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """The prompts, frozen."""
        if self.front is None:
            return super().learner(clip_model, classes, schedules)
        return self.front.learner(clip_model, classes, schedules)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        if self.front is None:
            return super().for_classes(learner, clip_model, classes)
        return self.front.method.for_classes(learner, clip_model, classes)


def own_of_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A head's own tensors in its checkpoint."""
    return {name: one for name, one in state.items() if not name.startswith(BESIDE)}


def prompts_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The prompts' tensors in a head's checkpoint, by their own names."""
    return {name[len(TENSORS) :]: one for name, one in state.items() if name.startswith(TENSORS)}


class HeadAndBeside(nn.Module):
    """A head and the prompts it is put on, as one checkpoint has them; only the head is loaded and trained.

    Args:
        head: the head.
        beside: returns the tensors stored beside it, by their names in the checkpoint.
    """

    head: nn.Module

    def __init__(self, head: nn.Module, beside: Callable[[], dict[str, Tensor]]):
        super().__init__()
        self.head = head
        self.beside = beside

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The head's tensors by their names, and those stored beside it."""
        return {**self.head.state_dict(), **self.beside()}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load the head's tensors."""
        return self.head.load_state_dict(own_of_head(state_dict), *args, **kwargs)
