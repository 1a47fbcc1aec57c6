"""Hierarchical Cross-modal Prompt Learning (HiCroPL, arXiv 2507.14976): prompts that flow between both sides.

Shapes: B images, C classes, n tokens of each layer, D layers with prompts, k of them mapped from text to vision,
T / V text / vision width, E joint width; of a mapping W width of its side, S width of the other side.
"""

import contextlib
import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.cast import cast_products, exact
from modprompt.clip.draws import draw_constructor
from modprompt.clip.facts import called, facts_of
from modprompt.clip.load import load_clip
from modprompt.clip.towers import CLIP, QuickGELU, image_width, joint_width, text_width
from modprompt.engine.context import Context, words_or_random
from modprompt.engine.model import Output
from modprompt.engine.prompts import Additions, Prompts
from modprompt.engine.schedule import MOST_TOKENS, Schedules, Shape, replacement
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.io.identity import BLENDED
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.capabilities import Repository, Results, SavedAs, Training
from modprompt.methods.parts.groups import WithSentences
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.parts.losses import EPS, ClassTeacher, FrozenCLIP, Objective, Term, cross_entropy
from modprompt.methods.parts.text import Sentences

WRITTEN, LEARNED = "written", "learned"


@dataclass(frozen=True, repr=False)
class HiCroPL(WithSentences):
    """HiCroPL: deep prompts of both sides, mapped from each other, and features blended with the frozen CLIP's."""

    node = "TRAINER.HICROPL"
    saved_as = SavedAs("VLPromptLearner")
    not_searched = "PROMPT_DEPTH sets the layers with prompts, and CROSS_LAYER sets how the prompts are mapped"
    wants_vision = True
    repository = Repository(shared={"OPTIM.EPS": "EPS"})

    n_ctx: int = setting(2, "the number of prompt tokens in each layer of both encoders", least=1, most=MOST_TOKENS)
    cross_layer: int = setting(
        6,
        "the number k of the first layers in which image prompts are mapped from text prompts; in later "
        "layers text prompts are mapped from image prompts",
        least=1,
    )
    ctx_init: str = setting("a photo of a", "the initial words of the context; used if N_CTX is at most 4")
    prompt_depth: int = setting(9, "the number of layers in both encoders that receive prompts", layers_of="both")
    teacher_name: str = setting(  # compared by its weights
        "",
        "the name or path of the CLIP model whose image features are blended with the learned ones; empty "
        "uses the backbone",
        compared=False,
        content=BLENDED,
    )
    lambd: float = setting(
        10.0,
        "the weight of the distances between the learned and the frozen features of images and classes",
        least=0,
        compared=False,
    )
    flow: str = setting(
        "written",
        "the treatment of mapped prompts: written copies them over the old prompts without gradient, as in "
        "the original code, so the mappers are not trained; learned trains the prompts together with the "
        "mappers",
        choices=(WRITTEN, LEARNED),
    )
    tests_write: bool = setting(
        False,
        "maps the prompts again at each validation and test batch and stores the result, as in the original "
        "code, if True; only with FLOW written",
        compared=False,
    )
    eps: float = setting(
        1e-3, "Adam's epsilon; a larger value shortens the steps where gradients are small", least=0, compared=False
    )

    def check(self) -> None:
        super().check()
        if self.cross_layer >= self.prompt_depth:
            text = f" must be less than PROMPT_DEPTH {self.prompt_depth}, got {self.cross_layer}."
            raise SettingError([("CROSS_LAYER", text)])
        if self.tests_write and self.flow != WRITTEN:
            raise SettingError(
                [
                    (
                        "TESTS_WRITE",
                        f" True has no effect with FLOW {self.flow}, because no prompts are written "
                        "over. Set TESTS_WRITE to False or FLOW written.",
                    )
                ]
            )

    @property
    def training(self) -> Training:
        return Training(optimiser={"eps": self.eps}, later_of_equals=True, exact_weights=True)  # for frozen features

    @property
    def results(self) -> Results:
        return Results(mark="each test batch mapped the prompts anew" if self.tests_write else "")

    def schedules(self, shape: Shape) -> Schedules:
        text, vision = (
            replacement(layers, self.prompt_depth, self.n_ctx, side)
            for side, layers in zip(("text", "vision"), (shape.text_layers, shape.vision_layers))
        )
        return Schedules(text, vision)

    def teacher(self, clip_model: CLIP) -> CLIP | None:
        """The CLIP whose image features are blended in; None if it is the CLIP that has the prompts.

        Raises:
            UserError: if there is none, or it does not fit the other.
        """
        if self.teacher_name in ("", facts_of(clip_model).name):
            return None
        with torch.random.fork_rng(devices=[]):
            try:
                teacher, _ = load_clip(self.teacher_name, clip_model.logit_scale.device)
            except UserError as error:
                raise SettingError([("TEACHER_NAME", f": {error}")]) from None
        sizes = [(joint_width(one), one.visual.input_resolution) for one in (teacher, clip_model)]
        for what, theirs, mine in zip(("feature width", "image size"), *sizes):
            if theirs != mine:
                text = (
                    f": {called(teacher)} has {what} {theirs}, but {called(clip_model)} has "
                    f"{what} {mine}. HiCroPL blends the image features of both CLIP models, so "
                    "these sizes must be equal."
                )
                raise SettingError([("TEACHER_NAME", text)])
        if facts_of(teacher).fingerprint == facts_of(clip_model).fingerprint:
            return None
        cast_products(teacher.float(), clip_model.dtype)
        return teacher.eval().requires_grad_(False)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "FlowLearner":
        context = words_or_random(self.ctx_init, self.n_ctx, clip_model)
        sentences, teacher = self.sentences_of(classes.dataset), self.teacher(clip_model)
        return FlowLearner(self, classes.names, clip_model, schedules, context, sentences, teacher)

    def objective(self, model: PromptedModel) -> Objective:
        frozen: Any = model.prompt_learner.frozen_text
        terms = (
            Term("class teacher", self.lambd, ClassTeacher(frozen)),
            Term("image teacher", self.lambd, image_distance),
        )
        return Objective((Term("cross_entropy", 1.0, cross_entropy), *terms))


def image_distance(output: Output, images: Tensor, labels: Tensor) -> Tensor:
    """One minus the mean cosine of the blended image features and the frozen ones; from 0 to 2."""
    (frozen,) = output.frozen  # a model that blends has one
    return 1 - F.cosine_similarity(output.image.float(), frozen.float(), dim=-1, eps=EPS).mean()


class FlowLearner(Learner):
    """Prompts of both sides for the first D layers; below layer k vision prompts are mapped from text, from k on text
    prompts from vision.

    Names, initial values and order of draws are the reference's: text prompts by layer, one draw for all vision
    prompts, both mappers, one pool for each side, one proxy token for each side; then the constructors of the backbone
    once more and of the teacher.

    Args:
        settings: N_CTX, CROSS_LAYER, PROMPT_DEPTH, FLOW and TESTS_WRITE.
        context: what the text prompts of layer 0 start from.
        sentences: for the frozen class features.
        teacher: the CLIP whose image features are blended in; None for clip_model.

    Raises:
        UserError: if a prompt or sentence is longer than the text context, or a class has no sentence.
    """

    in_clip_type = (
        "ctx",
        "cross_prompts_",
        "text2visual",
        "visual2text",
        "attn_pooling_",
        "text_proxy",
        "visual_proxy",
    )
    not_read = ("cross_prompts_text.0",)  # ctx under another name
    frozen_text: Tensor

    def __init__(
        self,
        settings: HiCroPL,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        context: Context,
        sentences: Sentences,
        teacher: CLIP | None,
    ):
        super().__init__(schedules, *context.around(schedules.text.among_words))
        self.settings, self.sentences, self._in_test = settings, sentences, False
        width, visual_width, kind = text_width(clip_model), image_width(clip_model), clip_model.dtype
        _require_heads(width, visual_width)
        n, depth, cross = settings.n_ctx, settings.prompt_depth, settings.cross_layer
        self.ctx = nn.Parameter(context.vectors)
        deep = {str(layer): torch.empty(n, width, dtype=kind) for layer in range(1, depth)}
        self.cross_prompts_text = nn.ParameterDict({key: nn.Parameter(one) for key, one in deep.items()})
        for key in deep:
            nn.init.normal_(self.cross_prompts_text[key], std=0.02)
        drawn = nn.init.normal_(torch.empty(n, visual_width, dtype=kind), std=0.02)
        self.cross_prompts_visual = nn.ParameterList([nn.Parameter(drawn.clone()) for _ in range(depth)])
        self.text2visual_net, self.visual2text_net = Mapper(visual_width, width), Mapper(width, visual_width)
        pools = Pool(width), Pool(visual_width)
        self.attn_pooling_text_nets = nn.ModuleList([copy.deepcopy(pools[0]) for _ in range(cross)])
        self.attn_pooling_visual_nets = nn.ModuleList([copy.deepcopy(pools[1]) for _ in range(cross, depth)])
        self.text_proxy_token = proxies(cross, width, kind)
        self.visual_proxy_token = proxies(depth - cross, visual_width, kind)
        draw_constructor(clip_model)
        draw_constructor(clip_model if teacher is None else teacher)
        self._take_teacher(teacher)
        self.cast(kind)
        if settings.flow == WRITTEN:
            for name, one in self.named_parameters():
                one.requires_grad_(name.startswith(("ctx", "cross_prompts_")))
        self.put_in(classnames, clip_model)

    def _take_teacher(self, teacher: CLIP | None) -> None:
        # not a part of what is learned: the model has it next to its encoders
        self.__dict__["frozen_visual"] = None if teacher is None else teacher.visual
        self.teacher_fingerprint = "" if teacher is None else facts_of(teacher).fingerprint

    @property
    def beginning(self) -> str:
        written = "mapped prompts replace the prompts in each training step; the mappers are random and are not trained"
        flow = written if self.settings.flow == WRITTEN else "the prompts are trained together with their mappers"
        return f"{super().beginning}\nFlow: {flow}\nSentences: {self.sentences}"

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        super().put_in(classnames, clip_model)
        features = self.sentences.mean_features(FrozenCLIP(exact(clip_model)), classnames)
        self.register_buffer("frozen_text", features, persistent=False)

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    @property
    def writes(self) -> bool:
        if self.settings.flow != WRITTEN or not self.ctx.requires_grad:
            return False
        return self._in_test or (self.training and torch.is_grad_enabled())

    @contextlib.contextmanager
    def testing(self) -> Iterator[None]:
        """Within it, with TESTS_WRITE, each call writes mapped prompts over the old ones."""
        self._in_test = self.settings.tests_write
        try:
            yield
        finally:
            self._in_test = False

    def stands_on(self) -> dict[str, str]:
        teacher = {BLENDED: str(self.teacher_fingerprint)} if self.teacher_fingerprint else {}
        return {**super().stands_on(), **teacher}

    def require_stands_on(self, stated: Mapping[str, Any], path: str) -> None:
        known = str(stated.get(BLENDED, ""))
        if known != self.teacher_fingerprint:
            mine, theirs = (one or "that of the backbone" for one in (self.teacher_fingerprint, known))
            raise UserError(
                f"{path}: the fingerprint of the teacher {BLENDED} (TEACHER_NAME) is {mine}, but the fingerprint of "
                f"the teacher in training was {theirs}. Set TEACHER_NAME to the CLIP model with which the model was "
                "trained."
            )

    def forward(self) -> Prompts:
        text, vision = self._flown()
        text_layers, vision_layers = map(len, self.schedules)
        additions = self.with_first(text[0], [None, *_padded(text[1:], text_layers - 1)])
        return Prompts(*additions, _padded(vision, vision_layers))

    def _flown(self) -> tuple[list[Tensor], list[Tensor]]:
        """Prompts of the D layers of the text and of the vision side, as the encoders receive them."""
        k = self.settings.cross_layer
        text = [self.ctx, *(self.cross_prompts_text[str(layer)] for layer in range(1, self.settings.prompt_depth))]
        vision = list(self.cross_prompts_visual)
        if self.settings.flow == LEARNED:
            return text[:k] + self._to_text(text, vision), self._to_vision(text, vision) + vision[k:]
        writes = self.writes
        with torch.no_grad():
            lower = self._to_vision(text, vision)
            if writes:
                _write(lower, vision[:k])
            upper = self._to_text(text, vision)
            if writes:
                _write(upper, text[k:])
        if writes:
            return text, vision
        return text[:k] + _standing_for(text[k:], upper), _standing_for(vision[:k], lower) + vision[k:]

    def _to_vision(self, text: list[Tensor], vision: list[Tensor]) -> list[Tensor]:
        """Vision prompts of the layers below k, mapped from text."""
        k = self.settings.cross_layer
        pooled = [pool(*of) for pool, *of in zip(self.attn_pooling_text_nets, self.text_proxy_token, text)]
        mapped: Tensor = self.text2visual_net(torch.cat(vision[:k]), torch.cat(pooled))
        return list(mapped.chunk(k))

    def _to_text(self, text: list[Tensor], vision: list[Tensor]) -> list[Tensor]:
        """Text prompts of the layers from k on, mapped from vision."""
        k = self.settings.cross_layer
        pooled = [pool(*of) for pool, *of in zip(self.attn_pooling_visual_nets, self.visual_proxy_token, vision[k:])]
        mapped: Tensor = self.visual2text_net(torch.cat(text[k:]), torch.cat(pooled))
        return list(mapped.chunk(len(text) - k))


def _require_heads(*widths: int) -> None:
    for width in widths:
        if width % HEADS:
            raise UserError(
                f"HiCroPL maps prompts with an attention layer of {HEADS} heads, but the width {width} of this CLIP "
                f"model is not divisible by {HEADS}. Use another CLIP model."
            )


def _write(new: Sequence[Tensor], into: Sequence[Tensor]) -> None:
    for own, tokens in zip(into, new):
        own.copy_(tokens)


def _standing_for(own: Sequence[Tensor], tokens: Sequence[Tensor]) -> list[Tensor]:
    """Tokens whose gradients go to the prompts that they would be written over."""
    if not torch.is_grad_enabled():
        return list(tokens)
    return [one - one.detach() + new for one, new in zip(own, tokens)]


def _padded(own: Sequence[Tensor], layers: int) -> Additions:
    return [*own, *[None] * (layers - len(own))]


HEADS = 8  # of every attention here
_WIDER = 4  # how much wider a mapper's hidden layer is


class Pool(nn.Module):
    """Attention pooling: a proxy token attends to a layer's prompts.

    Random draws: those of its attention.

    Args:
        width: S.
    """

    def __init__(self, width: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, HEADS)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, proxy: Tensor, prompts: Tensor) -> Tensor:
        """(1, S) from a proxy token (1, S) and a layer's prompts (n, S)."""
        tokens = self.ln_1(prompts)
        pooled: Tensor = self.ln_2(proxy + self.attn(self.ln_1(proxy), tokens, tokens, need_weights=False)[0])
        return pooled


class Mapper(nn.Module):
    """A transformer layer in which prompts of one side attend to pooled ones of the other.

    Random draws: attention; linear_q, linear_k, linear_v; the hidden layer, the layer after it.

    Args:
        width: W.
        other: S.
    """

    def __init__(self, width: int, other: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, HEADS)
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(other, width)
        self.linear_v = nn.Linear(other, width)
        self.ln_1 = nn.LayerNorm(width)
        wide = _WIDER * width
        parts = (("c_fc", nn.Linear(width, wide)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(wide, width)))
        self.ffn = nn.Sequential(OrderedDict(parts))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, prompts: Tensor, pooled: Tensor) -> Tensor:
        """New prompts (k n, W) from those of k layers (k n, W) and the pooled ones (k, S) of k layers."""
        x = self.linear_q(prompts)  # attention is added to these
        key, value = self.ln_1(self.linear_k(pooled)), self.ln_1(self.linear_v(pooled))
        x = x + self.attn(self.ln_1(x), key, value, need_weights=False)[0]
        mapped: Tensor = x + self.ffn(self.ln_2(x))
        return mapped


def proxies(count: int, width: int, dtype: torch.dtype) -> nn.ParameterList:
    """`count` proxy tokens (1, S), all with the values of one normal draw."""
    drawn = torch.randn(1, width, dtype=dtype)
    return nn.ParameterList([nn.Parameter(drawn.clone()) for _ in range(count)])
