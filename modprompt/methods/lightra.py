"""LightRA (IEEE TMM 2026, doi 10.1109/TMM.2026.3676654): learned keys and values beside each layer's own attention.

Shapes: B images, C classes, P sentences of all classes, L tokens, n keys of a layer, H heads, d = D / H, D width of a
side, E joint width.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, image_width, text_width, tokenizer_of
from modprompt.engine.blocks import Attend, attention
from modprompt.engine.class_prompts import class_prompts
from modprompt.engine.model import Output
from modprompt.engine.pooling import DIRECTIONS, LOGITS, Pooling
from modprompt.engine.prompts import Additions, Prompts, fits, template_texts
from modprompt.engine.schedule import CARRY, MOST_TOKENS, Schedules, Shape, Step, without_prompts
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Repository, SavedAs, Training
from modprompt.methods.parts.groups import WithSentences
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.parts.losses import EPS, FrozenCLIP, Objective, Term
from modprompt.methods.parts.text import Sentences, unit_features

TEMPLATES = {  # of its repository, in front of a sentence; all other data sets have the default
    "Caltech101": "A photo of a {}.",
    "EuroSAT": "A top-down view of {} arranged in a pattern,",
    "Food101": "A photo of a {}, a type of food.",
    "StanfordCars": "A photo of a {}, a type of car.",
}
DEFAULT = "A photo of a {},"
PLAIN, UNIT = "plain", "unit"


@dataclass(frozen=True, repr=False)
class LightRA(WithSentences):
    """LightRA: keys and values beside each layer's own attention on both sides, trained on sentences of the classes."""

    node = "TRAINER.LightRA"
    saved_as = SavedAs("ResidualAttention", "")
    prec = "amp"
    wants_vision = True
    repository = Repository(shared={"DATASET.PROMPT_PATH": "SENTENCES", "DATASET.PROMPT_TEMPLATE": "TEMPLATE"})

    n_ctx_vision: int = setting(
        4,
        "the number of learned keys added to the attention of each layer of the image encoder",
        least=1,
        most=MOST_TOKENS,
    )
    n_ctx_text: int = setting(
        4,
        "the number of learned keys added to the attention of each layer of the text encoder",
        least=1,
        most=MOST_TOKENS,
    )
    vision_depth: int = setting(
        12,
        "the number of layers in the image encoder, from the first, that have learned keys",
        least=1,
        layers_of="vision",
    )
    text_depth: int = setting(
        12,
        "the number of layers in the text encoder, from the first, that have learned keys",
        least=1,
        layers_of="text",
    )
    cos_weight: float = setting(
        1.0,
        "the weight of the logits of the learned features, relative to the logits that use frozen features",
        least=0,
        compared=False,
    )
    loss_weight: float = setting(
        10.0,
        "the weight of the distances between the learned and the frozen features of images and classes",
        least=0,
        compared=False,
    )
    template: str = setting(
        "",
        "the words before each class description, with {} for the class name; empty uses the template of the data set",
        compared=False,
        kept=True,
    )
    mean: str = setting(
        PLAIN,
        "the class features in a test: plain is the mean of the normalized features of the descriptions, "
        "which is shorter for a class with diverse descriptions, as in the original code; unit normalizes "
        "this mean",
        choices=(PLAIN, UNIT),
        compared=False,
        kept=True,
    )

    def check(self) -> None:
        super().check()
        templates.require_place("TEMPLATE", self.template)

    @property
    def training(self) -> Training:
        return Training(exact_weights=True)

    def sentences_of(self, dataset: str) -> Sentences:
        """The sentences of a data set, with the template that is in front of them.

        Raises:
            SettingError: if there are none.
        """
        template = self.template or TEMPLATES.get(dataset, DEFAULT)
        return super().sentences_of(dataset)._replace(template=template)

    def schedules(self, shape: Shape) -> Schedules:
        """No prompts on either side.

        Raises:
            SettingError: if a side has fewer layers.
        """
        for key, depth, layers in (
            ("VISION_DEPTH", self.vision_depth, shape.vision_layers),
            ("TEXT_DEPTH", self.text_depth, shape.text_layers),
        ):
            if depth > layers:
                text = f" must be at most {layers}, the number of layers in this encoder, got {depth}."
                raise SettingError([(key, text)])
        return without_prompts(shape)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "SentenceLearner":
        return SentenceLearner(self, classes.names, clip_model, schedules, self.sentences_of(classes.dataset))

    def objective(self, model: PromptedModel) -> Objective:
        learner: Any = model.prompt_learner
        text = unit_features(FrozenCLIP(model.exact_clip()), learner.prompt_text.texts, learner.labels, cut=True)
        frozen = FrozenCLIP(model.clip_model, model.stream)
        loss = MixedLoss(self, learner, frozen, text, model.logit_scale)
        return Objective((Term("mixed", 1.0, loss),), teachers=(frozen,))


class Beside(NamedTuple):
    """Keys and values (2, n, D) beside a layer's own attention (an OwnAttention, engine/additions.py)."""

    pool: Tensor

    @property
    def tokens_given(self) -> Tensor:
        """All of them, (2 n, D)."""
        return self.pool.flatten(0, 1)

    @property
    def joins(self) -> None:
        """None: no token joins the sequence."""

    def with_tokens(self, tokens: Tensor | None) -> "Beside":
        """A copy with others."""
        return self if tokens is None else Beside(tokens.view_as(self.pool))

    def step(self, scheduled: Step) -> Step:
        """Nothing is removed or added."""
        return CARRY

    def attend(self, block: Any, start: int) -> Attend:
        """Attention, plus that of the same queries to these keys, with a softmax of its own and without a mask."""

        def both(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
            own = attention(query, key, value, mask, causal)
            pool = self.pool.to(query.dtype).view(2, 1, -1, *query.shape[2:]).expand(-1, query.shape[0], -1, -1, -1)
            return own + attention(query, *pool)

        return both

    def map(self, change: Callable[[Tensor], Tensor]) -> "Beside":
        """A copy with `change` applied to them."""
        return Beside(change(self.pool))


class SentenceLearner(Learner):
    """Keys and values beside the attention of layers; the prompts of a class are its sentences.

    A step of a training draws one sentence of each class; all else has the mean over all of them. Random draws: the
    keys of vision layers, then of text layers, uniform from -1 to 1; values are 0.

    Args:
        settings: N_CTX_VISION, N_CTX_TEXT, VISION_DEPTH, TEXT_DEPTH and MEAN.
        sentences: with the template in front of them.

    Raises:
        UserError: if a class has no sentence.
    """

    changes_images = True
    labels: list[str]  # the class of each prompt
    counts: list[int]  # of each class, its prompts
    drawn: list[int] | None = None  # the numbers of the prompts of the last call; None for all

    def __init__(
        self,
        settings: LightRA,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        sentences: Sentences,
    ):
        super().__init__(schedules, "")
        self.settings, self.sentences = settings, sentences
        self.register_buffer("ctx", torch.empty(0, text_width(clip_model), dtype=clip_model.dtype), persistent=False)
        self.vision = _drawn(settings.vision_depth, settings.n_ctx_vision, image_width(clip_model))
        self.text = _drawn(settings.text_depth, settings.n_ctx_text, text_width(clip_model))
        self.put_in(classnames, clip_model)

    @property
    def beginning(self) -> str:
        long = f", {self.cut} of them truncated to the maximum text length" if self.cut else ""
        return (
            f"Class descriptions: {self.sentences}, {len(self.labels)} descriptions after "
            f'"{self.sentences.template}"{long}'
        )

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        front, _, behind = self.sentences.template.partition("{}")
        self.prefix, self.ending = front.rstrip(), behind
        fronts = template_texts([name.lower() for name in classnames], self.sentences.template)
        content = self.sentences.content
        of_class = [("",)] * len(fronts) if content is None else content.of(classnames)
        self.counts = [len(own) for own in of_class]
        self.labels = [name for name, own in zip(classnames, of_class) for _ in own]
        texts = [f"{front} {one}".rstrip() for front, own in zip(fronts, of_class) for one in own]
        self.cut = sum(not fits(text, tokenizer_of(clip_model)) for text in texts)
        self.pooling = Pooling(self.counts, DIRECTIONS if self.settings.mean == UNIT else LOGITS)
        self.prompt_text = class_prompts(texts, self.labels, 0, clip_model, dtype=self.words_type, cut=True)

    def forward(self) -> Prompts:
        self.drawn = self._draw() if self.training and torch.is_grad_enabled() else None
        text, vision = map(len, self.schedules)
        additions = _beside(self.text, text), _beside(self.vision, vision)
        return Prompts(self.prompt_text(self.ctx, self.drawn), *additions, one_each=self.drawn is not None)

    def _draw(self) -> list[int]:
        firsts = itertools.accumulate([0, *self.counts[:-1]])
        return [first + int(torch.randint(count, (1,), device="cpu")) for first, count in zip(firsts, self.counts)]

    @staticmethod
    def checkpoint_key(name: str) -> str:
        side, _, layer = name.partition(".")
        return f"{'visual' if side == 'vision' else side}ResidualAttention.{layer}.prefix_pool"


def _drawn(layers: int, n: int, width: int) -> nn.ParameterList:
    """For each layer keys and values (2, n, D)."""
    pools = [torch.zeros(2, n, width) for _ in range(layers)]
    for keys, _ in pools:
        nn.init.uniform_(keys, -1, 1)
    return nn.ParameterList(map(nn.Parameter, pools))


def _beside(pools: nn.ParameterList, layers: int) -> Additions:
    return [Beside(pools[layer]) if layer < len(pools) else None for layer in range(layers)]


@dataclass(eq=False)
class MixedLoss:
    """Cross entropy of mixed logits, plus distances of features to the frozen ones.

    Logits are s (a f t' + f0 t' + f t0') / (a + 2), a = COS_WEIGHT; then LOSS_WEIGHT times one minus the mean cosine of
    t and t0, and of f and f0. t and t0 are of the sentences of the step.

    Args:
        settings: COS_WEIGHT and LOSS_WEIGHT.
        learner: says which sentences these are.
        frozen: the CLIP as it was.
        sentences: its features (P, E) of all sentences, of length 1, float32.
        logit_scale: CLIP's.
    """

    settings: LightRA
    learner: SentenceLearner
    frozen: FrozenCLIP
    sentences: Tensor
    logit_scale: Tensor

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of images (B, 3, H, W)."""
        image, text, a = output.image.float(), output.text.float(), self.settings.cos_weight
        frozen = F.normalize(self.frozen.encode_image(images).float(), dim=-1)
        of_text = self._sentences(text.device)
        cosines = (a * image @ text.t() + frozen @ text.t() + image @ of_text.t()) / (a + 2)
        entropy = F.cross_entropy(self.logit_scale.exp().float() * cosines, labels)
        return entropy + self.settings.loss_weight * (_distance(text, of_text) + _distance(image, frozen))

    def _sentences(self, device: torch.device) -> Tensor:
        """The frozen class features (C, E) beside those of the last call."""
        self.sentences, drawn, pooling = self.sentences.to(device), self.learner.drawn, self.learner.pooling
        if drawn is None and pooling is not None:
            mean: Tensor = pooling(self.sentences[None])[0]
            return mean
        return self.sentences.index_select(0, torch.tensor(drawn).to(device, non_blocking=True))


def _distance(own: Tensor, frozen: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(own, frozen, dim=-1, eps=EPS).mean()
