"""Learners: modules whose call returns the current prompts of classes on a frozen CLIP; all that is trained is in them.

Shapes: B images, C classes, n context tokens, T text width, V vision width, E joint width.
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, image_width, text_width
from modprompt.engine import text_layout
from modprompt.engine.class_prompts import ClassPrompts, class_prompts
from modprompt.engine.context import PLACEHOLDER, Context
from modprompt.engine.layer_change import LayerChanges
from modprompt.engine.pooling import Pooling
from modprompt.engine.prompts import Additions, ClassTokens, Prompts, class_texts, template_texts
from modprompt.engine.schedule import BEHIND_START, Schedule, Schedules
from modprompt.errors import UserError
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.identity import SENTENCES
from modprompt.methods.parts.text import Described

_FAMILY = "ImageNet"  # its variants number classes of one name by its list


class Classes(NamedTuple):
    """Class names in label order, and the name of the data set, which may have a template of its own.

    which: number of each class, from 0 on, among the data set's classes with the same name, in all halves; empty
        if no data set has said it.
    """

    names: tuple[str, ...]
    dataset: str = ""
    which: tuple[int, ...] = ()


def places(mine: Classes, theirs: Classes) -> list[int]:
    """For each of `theirs` the place of the same class in `mine`, -1 for none.

    In one data set, the number of a class among those of its name decides; who does not say it has the first of their
    names, as all classes and the base classes have. Otherwise a list that begins with `mine`, as all classes begin with
    the base classes, has these and new ones. Otherwise classes of one name are matched in order if there are equally
    many, and new if not: nobody can tell them apart.
    """
    if mine.names == theirs.names and (not theirs.which or mine.which == theirs.which):
        return list(range(len(mine.names)))
    of_one = mine.dataset == theirs.dataset or (_FAMILY in mine.dataset and _FAMILY in theirs.dataset)
    told = of_one and bool(mine.which or theirs.which)
    own, asked = (list(zip(one.names, (told and one.which) or _numbered(one.names))) for one in (mine, theirs))
    at = {key: place for place, key in enumerate(own)}
    found = [at.get(key, -1) for key in asked]
    if told:
        return found
    if theirs.names[: len(own)] == mine.names:
        return [place if place < len(own) else -1 for place in range(len(asked))]
    counts, others = Counter(mine.names), Counter(theirs.names)
    return [place if counts[name] == others[name] else -1 for name, place in zip(theirs.names, found)]


def _numbered(names: Sequence[str]) -> list[int]:
    """For each name, how many like it come before it."""
    return [names[:at].count(name) for at, name in enumerate(names)]


def trained_classes(content: Checkpoint) -> Classes:
    """The classes that a checkpoint was trained on; none if it does not say them."""
    stated = content.record.get("classes", {})
    which = () if "trained_on" in stated else stated.get("which", ())
    return Classes(content.trained_on, stated.get("dataset", ""), tuple(which))


def classes_of(names: Iterable[str], dataset: str = "", which: Sequence[int] = ()) -> Classes:
    """Class names, checked; `which` is as in Classes.

    Raises:
        UserError: if there are none, or one is empty or not a text.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        received = f"the string {names!r}" if isinstance(names, str) else repr(names)
        raise UserError(f"names must be a list of class names, got {received}.")
    classes = Classes(tuple(names), dataset, tuple(which))
    if not classes.names:
        raise UserError("names must contain at least one class name.")
    wrong = [name for name in classes.names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise UserError(f"names must contain non-empty strings, got {wrong[0]!r}.")
    return classes


HEAD = "joint_head."  # before the names of a joint head's parameters in a learner


class Learner(nn.Module):
    """A module whose call returns the current Prompts; all that is trained is in it.

    A subclass makes its parameters, in the order of its random draws, and calls `put_in`. Most are made of the names of
    the C classes, a CLIP, which gives widths and dtype, and the schedules of both sides. The attributes below say what
    else it can do; the engine asks for them and for no class.
    """

    schedules: Schedules
    trains_text = True  # whether class features change in training
    needs_image = False  # whether its call needs image features (B, E), normalised, of the CLIP without prompts
    literal_scale = 0.0  # factor of cosines; 0: exp(logit_scale) of the CLIP
    changes_images = False  # whether its Prompts have changes of the vision side's layers
    images_by = ""  # settings that affect image features, besides what is learned and the schedules
    adapters: LayerChanges | None  # learned changes of layers, if there are any
    joint_head: Any  # more logits, from raw features (methods/dept.py), learned too; None without
    # unit class features (C, E) in place of the text side's, and a module after the image side: from raw features
    # (B, E) to those that cosines are computed of
    given_text: Tensor | None
    projection: nn.Module | None
    class_rows: nn.Module | None  # from unit class features (C, E) to those that cosines are computed of
    reads = False  # whether its prompts make a second feature of each image (engine/read_out.py); `logits` uses both
    trained_on: tuple[str, ...] | None = None  # class names; () if unknown; None if they do not matter

    # how names of parameters begin that are made in CLIP's type; the others are float32
    in_clip_type: tuple[str, ...] = ("ctx",)

    prompt_text: ClassPrompts
    position = "end"  # of the class name
    words_type: torch.dtype | None = None  # of embedded words; None for CLIP's
    templates: tuple[str, ...] = ()  # whole prompts, of which each makes a class feature
    averaged: tuple[str, ...] = ()  # templates whose embedded words are averaged; the prompts say where a class ends
    ctx: Tensor  # (n, T), or (C, n, T) for single classes, with `described` for their single prompts

    not_read: tuple[str, ...] = ()  # how names in its repository's checkpoints begin that are not learned

    # frozen class features (C, E), of length 1, with which class features are blended; image features are blended with
    # those of the same CLIP, or of another's image side, `frozen_visual`
    frozen_text: Tensor | None
    frozen_visual: Any = None
    options: Mapping[str, Any] = {}  # by side that is searched: (remove, add) of each layer's options
    sentences: Any = None  # of classes (methods/parts/text.py); those from a file go into checkpoints

    described: Described | None = None  # phrases, which make several prompts of a class
    pooling: Pooling | None  # pools features of several prompts; None with one prompt per class
    # (image (B, E), text (C, E) or (B, C, E), exp(logit_scale)) to logits (B, C), with parameters of its own; None for
    # scaled cosines
    logits: nn.Module | None

    def __init__(self, schedules: Schedules, prefix: str, ending: str = "."):
        super().__init__()
        self.schedules = schedules
        self.prefix = prefix  # the words before a class name
        self.ending = ending  # those after it, if it comes after the context
        # not by __setattr__: a subclass may have properties of these names
        vars(self).update(dict.fromkeys(("pooling", "adapters", "joint_head", "logits", "projection", "class_rows")))
        for name in ("given_text", "frozen_text"):
            self.register_buffer(name, None, persistent=False)

    @property
    def beginning(self) -> str:
        """What a training starts from, as text for its log."""
        ensemble = f", averaged over {len(self.averaged)} templates" if self.averaged else ""
        random = " (X is a random vector)" if PLACEHOLDER in self.prefix.split() else ""
        return f'Initial context: "{self.prefix}"{random}{ensemble}'

    @property
    def writes(self) -> bool:
        """Whether the next call writes into the parameters."""
        return False

    @property
    def bound(self) -> bool:
        """Whether what is learned belongs to its classes (CSC)."""
        return self.ctx.dim() == 3

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        """Make the class prompts of these names.

        Raises:
            UserError: if one is longer than the text context, or a class has no phrase where there are phrases.
        """
        names = classnames
        if self.described is not None:
            names, counts = self.described.prompts(classnames)
            self.pooling = Pooling(counts, self.described.pooled)
        self.prompt_text = class_prompts(
            class_texts(names, self.prefix, self.ending),
            names,
            self._n_among_words(),
            clip_model,
            self.position,
            self.bound,
            self.words_type,
            self.needs_image,
            [template_texts(classnames, template) for template in self.averaged],
        )

    def _n_among_words(self) -> int:
        """Number of words that the context replaces."""
        return self.ctx.shape[-2] if self.schedules.text.place == BEHIND_START else 0

    def with_first(self, first: Tensor, additions: Additions) -> tuple[ClassTokens, Additions]:
        """Class prompts and additions of the text side.

        Args:
            first: tokens of layer 0: (n, T), (C, n, T) for single classes, or (B, 1, n, T) for single images; put among
                the words, or before the start token where the schedule says so.
            additions: of the other layers.
        """
        if self.schedules.text.place == BEHIND_START or not first.shape[-2]:
            return self.prompt_text(first), additions
        tokens = first[:, 0] if first.dim() == 4 else first
        return self.prompt_text(first[..., :0, :]), [tokens, *additions[1:]]

    def take(self, adapters: LayerChanges) -> None:
        """Add learned changes of layers."""
        self.adapters = adapters
        self.trains_text, self.changes_images = self.trains_text or adapters.on_text, adapters.on_images

    def adapted(self, prompts: Prompts) -> Prompts:
        """Prompts with the current adapters, if there are any."""
        if self.adapters is None:
            return prompts
        text, vision = map(len, self.schedules)
        changes = self.adapters.text_changes(text), self.adapters.vision_changes(vision)
        return prompts._replace(text_changes=changes[0], vision_changes=changes[1])

    def in_stage(self, stage: int, features: Callable[[], Tensor] | None) -> contextlib.AbstractContextManager[None]:
        """Within it a loss trains what a stage, from 0 on, learns; it begins with class features (C, E), or goes on."""
        return contextlib.nullcontext()

    def testing(self) -> contextlib.AbstractContextManager[None]:
        """The context in which a trainer tests or validates."""
        return contextlib.nullcontext()

    def stands_on(self) -> dict[str, str]:
        """What it was made with besides settings and CLIP, {name: text}: a training resumes only with the same."""
        return {SENTENCES: str(self.sentences.mark)} if self.sentences else {}

    def require_stands_on(self, stated: Mapping[str, Any], path: str) -> None:
        """Raise UserError if a file was made with something else that matters; `stated` describes its method."""

    def learned_on(self, classes: Classes) -> None:
        """Set the classes that the loaded parameters were trained on; none means that nobody knows.

        Raises:
            UserError: if they do not fit these classes.
        """
        if self.joint_head is not None:
            self.joint_head.learned_on(classes)
            self.trained_on = self.joint_head.trained_on.names

    def said_of(self, names: Sequence[str]) -> str:
        """What users must know of answers for these classes, in a sentence; empty if nothing."""
        if self.joint_head is None:
            return ""
        own = self.joint_head.classes
        said: str = self.joint_head.said_of(own if own.names == tuple(names) else own._replace(names=names, which=()))
        return said

    def mark(self) -> str:
        """As a method's mark, where it depends on the classes; empty for none."""
        return ""

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        """Adopt sizes of a checkpoint's tensors, named as in the learner, where settings need not agree."""
        if self.joint_head is not None:
            own = {name[len(HEAD) :]: one for name, one in state.items() if name.startswith(HEAD)}
            self.joint_head.take_sizes(own)

    def for_classes(self, classnames: Sequence[str], clip_model: CLIP) -> "Learner":
        """The same parameters, shared, for other class names.

        Raises:
            UserError: if what is learned belongs to its classes, or a prompt is longer than the text context.
        """
        if self.bound:
            raise UserError(
                "The prompts contain a separate context for each class (CSC), so they cannot be used with "
                "other class names."
            )
        other = copy.copy(self)
        for kept in ("_parameters", "_buffers", "_modules"):
            other.__dict__[kept] = copy.copy(self.__dict__[kept])
        other.put_in(classnames, clip_model)
        return other.to(next(self.buffers()).device) if len(list(self.buffers())) else other

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters for a training's optimiser, by name."""
        return dict(self.named_parameters())

    def cast(self, dtype: torch.dtype) -> None:
        """Cast, in place, what was made in CLIP's type, and all embedded words; the rest is float32."""
        self.words_type = dtype
        words = ("prompt_text", "texts")
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype if name.startswith((*self.in_clip_type, *words)) else torch.float32)

    def beside(self) -> dict[str, Tensor]:
        """What a file holds in addition to what is learned, by its names there; `not_read` covers these names."""
        return {}

    def take_beside(self, state: Mapping[str, Tensor], path: str) -> None:
        """Take these from a file's state dict; UserError if what is needed is not there."""

    def of_repository(self, content: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """A file's state dict, under our names, also for what its repository keeps in another form.

        Raises:
            UserError: if such a file does not fit.
        """
        return content

    def as_repository(self) -> dict[str, Any] | None:
        """The content of a file in its repository's own form; None if there is no other form."""
        return None

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints of the family; by default its own."""
        return name


def _drawn(schedule: Schedule, first_layer: int, width: int) -> nn.ParameterDict:
    """A parameter (add, width) for each layer from `first_layer` on that adds tokens, normal with std 0.02."""
    prompts = nn.ParameterDict()
    for layer, step in enumerate(schedule):
        if layer >= first_layer and step.add:
            prompts[str(layer)] = nn.Parameter(nn.init.normal_(torch.empty(step.add, width), std=0.02))
    return prompts


def _per_layer(prompts: nn.ParameterDict, layers: int) -> Additions:
    own = dict(prompts.items())
    return [own.get(str(layer)) for layer in range(layers)]


class IndependentPromptLearner(Learner):
    """A context on the text side, and separate vectors for every deeper layer and for the vision side.

    If layer 0 of the text side adds tokens, they are the context. Random draws after those of the context: vision
    prompts by layer, then deep text prompts by layer.

    Args:
        context: what the context starts from; with no tokens, or if layer 0 adds none, the words are fixed.
        position: place of the class name; see PromptText.
        described: phrases of the classes, each of which makes a prompt; None for one prompt per class.

    Raises:
        UserError: as put_in.
    """

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        context: Context,
        position: str = "end",
        described: Described | None = None,
    ):
        text = schedules.text
        super().__init__(schedules, *context.around(text.among_words))
        self.position = position
        self.described = described
        if context.n_ctx and text[0].add:
            self.ctx = nn.Parameter(context.vectors)
        else:
            self.register_buffer("ctx", context.vectors[..., :0, :], persistent=False)
        self._draw(clip_model, 1)
        self.put_in(classnames, clip_model)

    def _draw(self, clip_model: CLIP, first_text_layer: int) -> None:
        """Draw the prompts of both sides; on the text side from a layer on."""
        text, vision = self.schedules
        self.vision_prompts = _drawn(vision, 0, image_width(clip_model))
        self.text_prompts = _drawn(text, first_text_layer, text_width(clip_model))
        self.trains_text = bool(text.depth)

    def forward(self) -> Prompts:
        return self._prompts(self.ctx)

    def _prompts(self, first: Tensor) -> Prompts:
        text, vision = self.schedules
        additions = self.with_first(first, _per_layer(self.text_prompts, len(text)))
        return self.adapted(Prompts(*additions, _per_layer(self.vision_prompts, len(vision))))

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints of the family, where deep prompts are kept inside the encoders."""
        side, _, layer = name.partition(".")
        if side == "vision_prompts" and layer == "0":
            return "image_encoder.VPT"
        if side in ("vision_prompts", "text_prompts"):
            encoder = "image_encoder" if side == "vision_prompts" else "text_encoder"
            return f"{encoder}.transformer.resblocks.{layer}.VPT_shallow"
        return name


class CoupledPromptLearner(Learner):
    """Learnable text prompts and their projections; names, initial values and order of draws are the reference's.

    Before layer i the text side adds `compound_prompts_text[i-1]`; the vision side adds its projections by
    `txt2img_proj[0][i-1]`, `txt2img_proj[1][i-1]` and so on, as many tokens as its schedule asks for. A layer whose
    text side adds nothing still has up to c source vectors if its vision side adds tokens.

    Random draws after those of the context: proj, the deep text prompts by layer, then one projection from which all of
    txt2img_proj start from. Layer 0 of each side adds c tokens or none; the vision side's come from the context even
    where the text side has none.

    Args:
        context: what the context starts from.

    Raises:
        UserError: as put_in.
    """

    in_clip_type = ("ctx", "proj.")

    def __init__(self, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules, context: Context):
        super().__init__(schedules, *context.around(schedules.text.among_words))
        width, vision_width = text_width(clip_model), image_width(clip_model)
        self.proj = nn.Linear(width, vision_width).to(clip_model.dtype)
        self.ctx = nn.Parameter(context.vectors)
        self.trains_text = bool(schedules.text.depth)
        rows = self._source_rows(context.n_ctx)
        self.compound_prompts_text = nn.ParameterDict(
            {str(layer - 1): nn.Parameter(torch.empty(n, width)) for layer, n in rows.items()}
        )
        for key in (str(layer - 1) for layer in rows):
            nn.init.normal_(self.compound_prompts_text[key], std=0.02)
        shared = nn.Linear(width, vision_width)
        self.txt2img_proj = nn.ModuleList(
            nn.ModuleDict({str(layer - 1): copy.deepcopy(shared) for layer in layers})
            for layers in self._projected_layers(rows)
        )
        self.put_in(classnames, clip_model)

    def _source_rows(self, n_ctx: int) -> dict[int, int]:
        """Number of deep text vectors per layer, for the layers (from 1) that have any."""
        text, vision = self.schedules
        rows = {}
        for layer in range(1, max(len(text), len(vision))):
            text_add = text[layer].add if layer < len(text) else 0
            vision_add = vision[layer].add if layer < len(vision) else 0
            if text_add or vision_add:
                rows[layer] = text_add or min(n_ctx, vision_add)
        return rows

    def _projected_layers(self, rows: dict[int, int]) -> list[list[int]]:
        """For projection j = 0, 1, ...: the layers whose vision side needs it."""
        needed = {
            layer: -(-self.schedules.vision[layer].add // n)
            for layer, n in rows.items()
            if layer < len(self.schedules.vision)
        }
        return [[layer for layer, n in needed.items() if n > j] for j in range(max(needed.values(), default=0))]

    def text_additions(self) -> Additions:
        """The tokens (n, T) that each text layer adds; None for layer 0, whose are the prompts' own."""
        additions: Additions = [None] * len(self.schedules.text)
        for layer, step in enumerate(self.schedules.text):
            if layer and step.add:
                additions[layer] = self.compound_prompts_text[str(layer - 1)]
        return additions

    def vision_additions(self) -> Additions:
        """The tokens (n, V) that each vision layer adds."""
        additions: Additions = [None] * len(self.schedules.vision)
        if self.schedules.vision[0].add:
            additions[0] = self.proj(self.ctx)  # (c, V)
        layers = [layer for layer, step in enumerate(self.schedules.vision) if layer and step.add]
        together = text_layout.counts_launches(self.ctx.device) and len(layers) > 1
        projected = self._project_together(layers) if together else self._project_one_by_one(layers)
        for layer, rows in zip(layers, projected):
            add = self.schedules.vision[layer].add
            additions[layer] = rows if len(rows) == add else rows[:add]  # (add, V)
        return additions

    def _of_layer(self, layer: int) -> tuple[Tensor, list[nn.Linear]]:
        """A layer's source vectors (n, T), and the projections that its vision side needs."""
        key = str(layer - 1)
        projections = cast(Sequence[nn.ModuleDict], self.txt2img_proj)
        return self.compound_prompts_text[key], [cast(nn.Linear, proj[key]) for proj in projections if key in proj]

    def _project_one_by_one(self, layers: Sequence[int]) -> list[Tensor]:
        """All projections of each layer's vectors, one after another (rows, V)."""
        each = (self._of_layer(layer) for layer in layers)
        return [torch.cat([proj(source) for proj in projections]) for source, projections in each]

    def _project_together(self, layers: Sequence[int]) -> list[Tensor]:
        """The same in one product for all layers with equally many vectors: a few launches, not some for each layer."""
        found: dict[int, Tensor] = {}
        by_rows: dict[int, list[int]] = {}
        for layer in layers:
            by_rows.setdefault(len(self._of_layer(layer)[0]), []).append(layer)
        for same in by_rows.values():
            pairs = [(source, proj) for source, projections in map(self._of_layer, same) for proj in projections]
            sources = torch.stack([source for source, _ in pairs])  # (m, n, T)
            weights = torch.stack([proj.weight for _, proj in pairs])  # (m, V, T)
            biases = torch.stack([proj.bias for _, proj in pairs])[:, None]
            rows = torch.baddbmm(biases, sources, weights.transpose(1, 2)).flatten(0, 1)  # (m * n, V)
            counts = [len(source) * len(projections) for source, projections in map(self._of_layer, same)]
            found.update(zip(same, rows.split(counts)))
        return [found[layer] for layer in layers]

    def forward(self) -> Prompts:
        first = self.ctx if self.schedules.text[0].add else self.ctx[:0]
        additions = self.with_first(first, self.text_additions())
        return self.adapted(Prompts(*additions, self.vision_additions()))

    def _n_among_words(self) -> int:
        return self.schedules.text.among_words


class TemplatePrompts(Learner):
    """Class names in templates like "a photo of a {}."; a class's feature is the mean over them.

    Args:
        templates: one or more.
        as_written: whether names keep their "_"; otherwise it becomes a space.

    Raises:
        UserError: as put_in.
    """

    trains_text = bound = False

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        templates: Sequence[str],
        as_written: bool = False,
    ):
        super().__init__(schedules, "")
        self.templates = tuple(templates)
        self.as_written = as_written
        self.register_buffer("ctx", torch.empty(0, text_width(clip_model), dtype=clip_model.dtype), persistent=False)
        self.put_in(classnames, clip_model)

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        texts = [
            class_prompts(self._in(template, classnames), classnames, 0, clip_model, dtype=self.words_type)
            for template in self.templates
        ]
        self.texts = nn.ModuleList(texts)
        self.prompt_text = texts[0]

    def _in(self, template: str, classnames: Sequence[str]) -> list[str]:
        if self.as_written:
            return [template.replace("{}", name) for name in classnames]
        return template_texts(classnames, template)

    def forward(self) -> Prompts:
        text, vision = self.schedules
        return Prompts([prompts(self.ctx) for prompts in self.texts], [None] * len(text), [None] * len(vision))


class AdaptedTemplate(TemplatePrompts):
    """Class names in one template, and what changes the layers of both sides (`adapters`)."""

    def forward(self) -> Prompts:
        text, vision = self.schedules
        return self.adapted(Prompts(self.prompt_text(self.ctx), [None] * len(text), [None] * len(vision)))
