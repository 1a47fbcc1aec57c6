"""A method whose learned part is a head on CLIP's features, or on those through trained prompts or another projection.

Its model is in model.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from modprompt.clip.towers import CLIP, joint_width
from modprompt.engine.pooling import LOGITS
from modprompt.engine.schedule import Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.io import checkpoint
from modprompt.io.checkpoint import Checkpoint, run_or_file
from modprompt.io.files import Refused, sha256_of
from modprompt.io.identity import ENHANCED_BASE, PROMPTS_BEFORE
from modprompt.io.settings import ALL, FEW
from modprompt.io.tensors import read_tensors
from modprompt.methods.assembly import learner_of
from modprompt.methods.base import Method
from modprompt.methods.heads.base import TEST, VAL, Head
from modprompt.methods.heads.model import HeadedModel, put_base, require_projection
from modprompt.methods.loading import stated_method
from modprompt.methods.model import PromptedModel
from modprompt.methods.named_files import FRONT, prompts_hash
from modprompt.methods.parts import templates
from modprompt.methods.parts.learners import Classes, Learner, TemplatePrompts
from modprompt.methods.parts.losses import CROSS_ENTROPY, Objective, Term
from modprompt.methods.records import load_content, made_with, of_clip, require_own_classes, view_of
from modprompt.methods.search.learners import SearchLearner
from modprompt.methods.zeroshot import ZeroshotCLIP

M = TypeVar("M", bound="HeadMethod")
NONE, UNKNOWN = "none", "not known"  # as the file of an enhanced base; as its hash
SPLIT = "validation split"  # where a search may look against the project's rule, as on TEST


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
            raise UserError(
                f"{file} does not record which method trained its prompts. Train the prompts with modprompt."
            )
        stated = content.record["method"]
        method = stated_method(stated, content.record["classes"], file)
        if isinstance(method, HeadMethod) or method.search is not None:
            raise UserError(
                f"{file} was written by {stated['name']}, but a head can only be trained on top of a prompt-learning "
                "method. Set PROMPTS_FROM to the run of a prompt-learning method."
            )
        chosen = str(content.record.get("run", {}).get("selected_on", ""))
        return cls(method, stated, prompts_hash(file), file, content, chosen)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        """The prompts for these classes, frozen. Random generators stay as they are.

        Raises:
            UserError: if they belong to another CLIP or to other classes (CSC), or have several prompts a class.
        """
        content = self.content
        if content is not None and not classes.dataset:
            classes = classes._replace(dataset=content.record["classes"].get("dataset", ""))
        with torch.random.fork_rng(devices=[]):
            learner = learner_of(self.method, clip_model, classes, schedules)
        require_headable(learner, self.method)
        if content is not None:
            load_content(view_of(self.method, learner), content, self.path, made_with(self.method, of_clip(clip_model)))
            if learner.bound:
                require_own_classes(content, classes.names, self.path)
        return as_front(learner)


def require_headable(learner: Learner, method: Method) -> None:
    """Raise UserError if no head can be put on a method's prompts."""
    name = type(method).__name__
    if isinstance(learner, SearchLearner):
        raise UserError(
            f"In this run, {name} has several prompts per class, so no head can be trained on top of {name}."
        )
    if learner.given_text is not None:
        raise UserError(
            f"{name} uses the class features of a second CLIP model, so no head can be trained on top of {name}."
        )


def unread(learner: Learner) -> str:
    """Return a sentence on the trained parts of a model that a head on top of it does not use, or ""."""
    if learner.joint_head is not None:
        return "The head uses the features of the prompts, not the logits of the DePT head that was trained with them."
    if learner.class_rows is not None:
        return "The head uses the features of the trained encoders, not the classifier that was trained with them."
    if learner.pooling is not None and learner.pooling.of == LOGITS:
        return "The head uses the normalized mean of the features of all prompts of a class, not of their logits."
    own = "The head uses the features of classes and class tokens, not the features of the representation tokens."
    return own if type(learner).reads else ""


def as_front(learner: Learner) -> Learner:
    """The same prompts, frozen."""
    learner.requires_grad_(False)
    learner.trains_text = learner.reads = False  # a head reads class features and the images' own
    return learner


class Loaded(NamedTuple):
    """What the files hold that a method's settings name, or a checkpoint in their place.

    front: the prompts that the head is put on.
    base: the enhanced base's text projection (T, D); None if a checkpoint holds it.
    base_hash: of the enhanced base's file; empty without one.
    """

    front: Front | None = None
    base: Tensor | None = None
    base_hash: str = ""


NOTHING = Loaded()


def answered_in(order: int | None, count: int, at_once: int, answer: Callable[[Tensor], Tensor], said: str) -> Tensor:
    """Logits (N, C), on the CPU and in the list's order, of images that are answered in an order.

    Args:
        order: as HeadMethod.orders_of has it.
        count: N.
        at_once: how many images are answered at a time.
        answer: the logits (B, C) of images by their places (B,), asked in that order.
        said: what the progress bar says; without words there is none.
    """
    places = torch.arange(count) if order is None else torch.from_numpy(np.random.default_rng(order).permutation(count))
    parts = tqdm(places.split(at_once), desc=said, disable=None if said else True)
    logits = torch.cat([answer(some) for some in parts]).cpu()
    return torch.empty_like(logits).index_copy_(0, places, logits)


class Grid(NamedTuple):
    """The values to try, `betas` and `alphas` of them: from 0.1 up to the largest, exclusive, in equal steps."""

    most_beta: float
    most_alpha: float
    betas: int
    alphas: int
    on: str = VAL  # which images a search uses: VAL or TEST


@dataclass(frozen=True, repr=False)
class HeadMethod(ZeroshotCLIP):
    """Base of the methods that put a head on CLIP's features, with or without trained prompts.

    A subclass has its fields and `head`.
    """

    not_searched = "a head has no schedule"
    loaded: ClassVar[Loaded] = NOTHING  # set on an instance that is prepared
    enhanced_base = NONE  # the file of a text projection in place of CLIP's

    ensemble: str = setting(
        "",
        "the templates of the class features: selected, or selected and own; empty uses the template of the data set",
        choices=("", "selected", "selected and own"),
    )
    underscores: bool = setting(
        False,
        "keeps underscores in class names, as some original implementations do, if "
        "True; otherwise replaces them with spaces",
    )
    literal_scale: float = setting(
        0.0, "the logit scale, a factor on the cosine similarities; 0 uses exp(logit_scale) of the CLIP model", least=0
    )
    # what is compared is the prompts themselves: `metadata`
    prompts_from: str = setting(
        "",
        "the run folder or checkpoint with the trained prompts that this head is trained on top of; empty "
        "uses the original CLIP",
        compared=False,
        content=PROMPTS_BEFORE,
    )

    # ------------------------------ what a subclass says

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

    def orders_of(self, seed: int) -> Sequence[int | None]:
        """The orders in which test images are answered, if that matters: what NumPy's permutation is drawn from, or
        None for the list's own; predictions are the first one's.

        Args:
            seed: of the run; below 0 for none.
        """
        return (None,)

    def best_on(self) -> str:
        """Which images decide the best epoch: VAL or TEST; empty to follow TEST.FINAL_MODEL."""
        return ""

    # ------------------------------ files that its settings name

    def prepared(self: M) -> M:
        """This method, with its prompts and its enhanced base read.

        Raises:
            SettingError: if there are none, or files hold something else.
        """
        if self.loaded is not NOTHING:
            return self
        found = NOTHING
        if self.prompts_from:
            try:
                found = Loaded(Front.of(self.prompts_from))
            except UserError as error:
                raise SettingError([("PROMPTS_FROM", f": {error}")]) from None
        if self.enhanced_base != NONE:
            try:
                digest, weight = sha256_of(self.enhanced_base), read_tensors(self.enhanced_base)["state_dict"]["weight"]
                require_projection(weight, "weight")
            except (OSError, UserError, LookupError, TypeError, Refused) as error:
                raise SettingError(
                    [("ENHANCED_BASE", f" {self.enhanced_base} is not an enhanced base ({error}).")]
                ) from None
            found = found._replace(base=weight.detach().float().t().contiguous(), base_hash=digest)
        return self if found is NOTHING else self.replace_private(loaded=found)

    def metadata(self) -> dict[str, Any]:
        front, _, base_hash = self.prepared().loaded
        before = {} if front is None else {PROMPTS_BEFORE: front.digest, FRONT: dict(front.stated)}
        return {**super().metadata(), **before, **({ENHANCED_BASE: base_hash} if base_hash else {})}

    def restore(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method as a file describes it, on prompts and enhanced base from that file; no other file is opened.

        Raises:
            UserError: if the file lacks the prompts.
        """
        front, base_hash = None, ""
        if self.prompts_from:
            of_prompts = stated.get(FRONT)
            if not isinstance(of_prompts, dict):
                raise UserError(
                    f"{path} is damaged: the prompts on which the head was trained cannot be read. Use another copy "
                    "of the file."
                )
            method = stated_method(of_prompts, classes, path)
            front = Front(method, of_prompts, str(stated.get(PROMPTS_BEFORE)), path)
        if self.enhanced_base != NONE:
            base_hash = str(stated.get(ENHANCED_BASE, "")) or UNKNOWN
        return self.replace_private(loaded=Loaded(front, base_hash=base_hash)) if front or base_hash else self

    # ------------------------------ what it is on a CLIP

    @property
    def wants_text(self) -> bool:
        return self.loaded.front is not None and self.loaded.front.method.wants_text

    @property
    def wants_vision(self) -> bool:
        return self.loaded.front is not None and self.loaded.front.method.wants_vision

    def schedules(self, shape: Shape) -> Schedules:
        front = self.loaded.front
        return super().schedules(shape) if front is None else front.method.sides(shape)

    def templates(self, dataset: str) -> list[str]:
        own = [] if self.ensemble == "selected" else super().templates(dataset)
        return [*templates.SELECTED, *own] if self.ensemble else own

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> Learner:
        if self.loaded.front is not None:
            return self.loaded.front.learner(clip_model, classes, schedules)
        own = self.templates(classes.dataset)
        return TemplatePrompts(classes.names, clip_model, schedules, own, self.underscores)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        front = self.loaded.front
        made = super().for_classes if front is None else front.method.for_classes
        return made(learner, clip_model, classes)

    def model(self, learner: Learner, clip_model: CLIP, classes: Classes, epochs: int) -> HeadedModel:
        head = self.head(classes.names, joint_width(clip_model))
        if learner.needs_image and not head.moves:
            raise UserError(
                f"{type(self).__name__} needs one text feature per class, but the prompts in {self.prompts_from} "
                "produce different text features for each image. Use a different head or different prompts."
            )
        head.to(clip_model.logit_scale.device)
        made = HeadedModel(self, learner, clip_model, classes, epochs, head)
        if self.loaded.base is not None:
            put_base(made, self.loaded.base)
        return made

    def objective(self, model: PromptedModel) -> Objective:
        headed = cast(HeadedModel, model)  # its head may have been replaced by then
        return CROSS_ENTROPY.plus(Term("penalty", 1.0, lambda *batch: headed.penalty()))


# ------------------------------------------------------------------ settings that some heads share, and what they do


@dataclass(frozen=True, repr=False)
class EnhancedBase(HeadMethod):
    """A head whose class features may pass through a text projection from a file (TaskRes, arXiv 2211.10277)."""

    enhanced_base: str = setting(
        "none",
        "the path of a file whose state_dict contains a text projection (weight) that replaces CLIP's; none "
        "for no file",
        compared=False,
        content=ENHANCED_BASE,
    )


@dataclass(frozen=True, repr=False)
class FreshViewsHead(HeadMethod):
    """A head that is trained on a new view of the training images in every epoch."""

    views: int = setting(
        0,
        "the number of augmented passes over the training images, which are stored and used in turn; 0 draws "
        "new augmentations in every epoch",
        least=0,
    )

    def kept_views(self) -> int:
        return self.views


@dataclass(frozen=True, repr=False)
class SearchedHead(HeadMethod):
    """A head with alpha and beta, searched after the training on validation images, min(shots, 4) per class."""

    search_hp: bool = setting(
        True, "searches for alpha and beta if True and the data set has validation images", compared=False
    )
    search_scale: Sequence[float] = setting(
        (7.0, 3.0), "the upper ends of the search ranges of beta and alpha", compared=False
    )
    search_step: Sequence[int] = setting(
        (200, 20), "the numbers of values of beta and alpha in the search", compared=False
    )
    search_on: str = setting(
        "",
        "the images on which alpha and beta are searched; empty uses a few validation images or held-out "
        "training images; validation split and test, as in some original implementations, mark the result",
        choices=("", SPLIT, TEST),
        compared=False,
    )

    def check(self) -> None:
        super().check()
        faults = []
        if not _two(self.search_scale, (int, float), 0.1):
            faults.append(("SEARCH_SCALE", f" must be two numbers above 0.1, got {list(self.search_scale)}."))
        if not _two(self.search_step, (int,), 0):
            faults.append(("SEARCH_STEP", f" must be two whole numbers from 1 up, got {list(self.search_step)}."))
        if faults:
            raise SettingError(faults)

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        if not settings["SEARCH_HP"]:
            return ""
        return {"": FEW, SPLIT: ALL}.get(settings["SEARCH_ON"], "")

    def grid(self) -> Grid | None:
        (most_beta, most_alpha), (betas, alphas) = self.search_scale, self.search_step
        on = TEST if self.search_on == TEST else VAL
        return Grid(most_beta, most_alpha, betas, alphas, on) if self.search_hp else None


def _two(values: Sequence[Any], kinds: Any, above: float) -> bool:
    numbers = [one for one in values if isinstance(one, kinds) and not isinstance(one, bool) and one > above]
    return len(values) == len(numbers) == 2
