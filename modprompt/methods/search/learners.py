"""The learners of a search: what they share, DPL's options of 0 to C tokens, and any other learner's tokens as slots.

Shapes: L layers, O options of the layer with the most, T text width, V vision width, A slots that a layer may add, R
most tokens that it may remove by number, S slots of the layers so far.
"""

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.towers import CLIP, image_width, text_width
from modprompt.engine.additions import new_tokens
from modprompt.engine.class_prompts import ClassPrompts
from modprompt.engine.precision import no_autocast
from modprompt.engine.prompts import Additions, ClassTokens, Prompts
from modprompt.engine.schedule import Schedule, Schedules
from modprompt.methods.parts.learners import Learner
from modprompt.methods.search.file import SIDES
from modprompt.methods.search.space import ALL, Option, best_path, margins, steps_of
from modprompt.methods.search.supernet import Options, Slots, log_of, presences

SPREAD = 0.001  # std of the alphas before the first step (DPL, arXiv 2501.00457)
ALPHAS = "alphas."  # before the names of the parameters that weight options


class Found(NamedTuple):
    """The result of a search on a side so far.

    schedule: of the best path.
    path: the option of each layer, by its number.
    margins: for each layer the weight of the chosen option minus that of the best other; 1 if there is no other.
    options: (remove, add) of each layer's options.
    """

    schedule: Schedule
    path: tuple[int, ...]
    margins: tuple[float, ...]
    options: tuple[tuple[Option, ...], ...]


class SearchLearner(Learner):
    """A learner in which it is open which option each layer of a searched side uses.

    A subclass adds each side's alphas by `enter_alphas`, in the order of its draws, and reads `weights`.

    Attributes:
        alphas: (L, O) for each searched side, before the softmax; a layer with fewer options reads only the first ones.
        options: for each searched side, (remove, add) of each layer's options.
    """

    alphas: nn.ParameterDict
    options: dict[str, tuple[tuple[Option, ...], ...]]

    def enter_alphas(self, side: str, options: Sequence[Sequence[Option]]) -> None:
        """Add the options of a side's layers, with newly drawn alphas."""
        self.options[side] = tuple(tuple(there) for there in options)
        most = max(map(len, options))
        self.alphas[side] = nn.Parameter(SPREAD * torch.randn(len(options), most))
        missing = torch.tensor([[0.0] * len(there) + [float("-inf")] * (most - len(there)) for there in options])
        self.register_buffer(f"{side}_missing", missing, persistent=False)
        self.register_buffer(f"{side}_taken", None, persistent=False)  # weights (L, O) of a decided side

    def weights(self, side: str) -> list[Tensor]:
        """For each layer the weights of its options (options,), float32, with sum 1."""
        return [row[: len(there)] for row, there in zip(self.table(side).unbind(), self.options[side])]

    def table(self, side: str) -> Tensor:
        """The same as one table (L, O), 0 for an option that a layer does not have."""
        taken: Tensor | None = getattr(self, f"{side}_taken")
        if taken is not None:
            return taken
        missing: Tensor = getattr(self, f"{side}_missing")
        table: Tensor = (self.alphas[side].float() + missing).softmax(-1)
        return table

    def place(self, side: str) -> str:
        """Where a side's prompt tokens stand."""
        place: str = getattr(self.schedules, side).place
        return place

    def _row(self, side: str, layer: int) -> Tensor:
        row: Tensor = self.alphas[side][layer, : len(self.options[side][layer])]
        return row

    def alphas_now(self) -> dict[str, Tensor]:
        """For each searched side a copy of the alphas (L, O), on the CPU."""
        return {side: values.detach().float().cpu().clone() for side, values in self.alphas.items()}

    def found(self, most_tokens: int = 0) -> dict[str, Found]:
        """The best path of each searched side; a layer never removes more than reaches it.

        Args:
            most_tokens: limit of prompt tokens for all layers of a side together; 0 for none.

        Raises:
            UserError: if every path has more.
        """
        return {side: self._found(side, most_tokens) for side in SIDES if side in self.options}

    def _found(self, side: str, most_tokens: int) -> Found:
        options, place = self.options[side], self.place(side)
        logs = [self._row(side, layer).detach().float().log_softmax(-1).tolist() for layer in range(len(options))]
        path = best_path(logs, options, most_tokens)
        return Found(Schedule(steps_of(path, options), side, place), path, margins(logs, path), options)

    @contextlib.contextmanager
    def decided(self, paths: Mapping[str, Sequence[int]]) -> Iterator[None]:
        """Within it each layer uses one option, by the sides' paths."""
        before = {side: getattr(self, f"{side}_taken") for side in paths}
        for side, path in paths.items():
            setattr(self, f"{side}_taken", self._one_hot(side, path))
        try:
            yield
        finally:
            for side, taken in before.items():
                setattr(self, f"{side}_taken", taken)

    def _one_hot(self, side: str, path: Sequence[int]) -> Tensor:
        alphas = self.alphas[side]
        return F.one_hot(torch.tensor(path), alphas.shape[1]).to(alphas.device, torch.float32)

    def trained(self) -> dict[str, nn.Parameter]:
        """All parameters except the alphas, which have an optimiser of their own."""
        return {name: value for name, value in self.named_parameters() if not name.startswith(ALPHAS)}

    def expected_tokens(self) -> Tensor:
        """The expected number of prompt tokens in all layers of the searched sides together."""
        raise NotImplementedError


class OptionsPromptLearner(SearchLearner):
    """Each option of each layer has tokens of its own, schedules those of the longest; words are fixed.

    Random draws: vision alphas, vision tokens by layer and option (normal, std 1), text alphas, text tokens by layer
    and option (uniform on [0, 1)), as in the reference.

    Args:
        words: before a class name.

    Raises:
        UserError: as PromptText.
    """

    def __init__(self, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules, words: str):
        super().__init__(schedules, words)
        widths = text_width(clip_model), image_width(clip_model)
        self.register_buffer("ctx", torch.empty(0, widths[0]), persistent=False)
        self.alphas, self.options = nn.ParameterDict(), {}
        self.vision_options = self._side("vision", widths[1], nn.init.normal_)
        self.text_options = self._side("text", widths[0], nn.init.uniform_)
        self.put_in(classnames, clip_model)

    def _side(self, side: str, width: int, draw: Callable[[Tensor], Tensor]) -> nn.ModuleList:
        counts = getattr(self.schedules, side).counts
        if not counts:  # a ResNet's
            return nn.ModuleList()
        self.enter_alphas(side, [[(ALL, n) for n in range(count + 1)] for count in counts])
        self.register_buffer(f"{side}_rows", _rows(counts), persistent=False)
        self.register_buffer(f"{side}_unread", _unread(max(counts)), persistent=False)
        return nn.ModuleList(
            nn.ParameterList([nn.Parameter(draw(torch.empty(n + 1, width))) for n in range(count)]) for count in counts
        )

    def _additions(self, side: str, options: nn.ModuleList) -> Additions:
        each: list[Tensor] = list(options.parameters())
        if not each:
            return [None] * len(options)
        rows, unread = getattr(self, f"{side}_rows"), getattr(self, f"{side}_unread")
        counts = getattr(self.schedules, side).counts
        tokens = torch.cat(each).index_select(0, rows).split([n * n for n in counts])
        return [
            Options(own, unread[:n, :n], weights) if n else None
            for own, n, weights in zip(tokens, counts, self.weights(side))
        ]

    def forward(self) -> Prompts:
        text, vision = self._additions("text", self.text_options), self._additions("vision", self.vision_options)
        return Prompts(self.prompt_text(self.ctx), text, vision)

    def expected_tokens(self) -> Tensor:
        tables = [self.table(side) for side in self.options]
        expected = [one @ torch.arange(one.shape[1], device=one.device, dtype=one.dtype) for one in tables]  # (L,)
        return torch.cat(expected).sum()

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in the reference's checkpoints, which have no alphas."""
        return name.replace("vision_options.", "ctx_img_lst.").replace("text_options.", "ctx_txt_lst.")


def _rows(counts: Sequence[int]) -> Tensor:
    """Among all options' tokens, one after another, `count` rows for each; the last fills rows that are not read."""
    found, first = [], 0
    for count in counts:
        for n in range(1, count + 1):
            found += [first + min(place, n - 1) for place in range(count)]
            first += n
    return torch.tensor(found, dtype=torch.long)


def _unread(count: int) -> Tensor:
    """(count, count): 0 at the first o of row o, counted from 1, and minus infinity at the others."""
    return torch.full((count, count), float("-inf")).triu_(1)


class SlotsPromptLearner(SearchLearner):
    """Another learner, with alphas.

    The other's schedules add in each layer of a searched side as many tokens as any option may add, and never remove;
    these are the slots. Random draws: the other's, then the alphas, vision before text.

    Args:
        inner: the other learner.
        options: for each searched side, (remove, add) of each layer's options.
    """

    def __init__(self, inner: Learner, options: dict[str, Sequence[Sequence[Option]]]):
        super().__init__(inner.schedules, inner.prefix, inner.ending)
        self.inner = inner
        self.needs_image = inner.needs_image
        self.alphas, self.options = nn.ParameterDict(), {}
        for side in ("vision", "text"):
            if side in options:
                self.enter_alphas(side, options[side])
                self.register_buffer(f"{side}_chances", _chances(options[side]), persistent=False)
                self.register_buffer(f"{side}_there", _there(options[side]), persistent=False)

    @property
    def prompt_text(self) -> ClassPrompts:  # type: ignore[override]
        """The other's."""
        return self.inner.prompt_text

    @property
    def ctx(self) -> Tensor:  # type: ignore[override]
        """The other's."""
        return self.inner.ctx

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        self.inner.put_in(classnames, clip_model)

    def for_classes(self, classnames: Sequence[str], clip_model: CLIP) -> "SlotsPromptLearner":
        other = copy.copy(self)
        other.__dict__["_modules"] = {**self._modules, "inner": self.inner.for_classes(classnames, clip_model)}
        return other

    @property
    def logits(self) -> nn.Module | None:  # type: ignore[override]
        """The other's."""
        return self.inner.logits

    def cast(self, dtype: torch.dtype) -> None:
        """As the other's; alphas are float32."""
        self.inner.cast(dtype)

    def forward(self, *inputs: Any) -> Prompts:
        prompts = self.inner(*inputs)
        return Prompts(
            prompts.text, self._slots("text", prompts.text_additions), self._slots("vision", prompts.vision_additions)
        )

    def _slots(self, side: str, additions: Additions) -> Additions:
        if side not in self.options:
            return additions
        there: Tensor = getattr(self, f"{side}_there")
        counts = list(itertools.accumulate(map(_most_added, self.options[side])))
        bias = log_of(self.presences(side)).flatten().index_select(0, there).split(counts)
        return [Slots(new_tokens(new), one) for new, one in zip(additions, bias)]

    def presences(self, side: str) -> Tensor:
        """The presences (L, S) of all slots before each layer, from 0 to 1, float32 under autocast too."""
        chances: Tensor = getattr(self, f"{side}_chances")
        with no_autocast(chances.device):
            found = torch.bmm(chances, self.table(side)[..., None])[..., 0]
            removes = _most_removed(self.options[side]) + 1
            return presences(found[:, :removes], found[:, removes:])

    def expected_tokens(self) -> Tensor:
        return torch.stack([self.presences(side).sum() for side in self.options]).sum()

    def checkpoint_key(self, name: str) -> str:  # type: ignore[override]  # the other's decides
        own = name[len("inner.") :] if name.startswith("inner.") else ""
        return self.inner.checkpoint_key(own) if own else name

    def with_first(self, first: Tensor, additions: Additions) -> tuple[ClassTokens, Additions]:
        return self.inner.with_first(first, additions)


def _most_removed(options: Sequence[Sequence[Option]]) -> int:
    return max((remove for there in options for remove, _ in there if remove != ALL), default=0)


def _most_added(options: Sequence[Option]) -> int:
    return max(add for _, add in options)


def _chances(options: Sequence[Sequence[Option]]) -> Tensor:
    """(L, R + 1 + S, O): 1 if an option removes 0, 1, ..., R tokens; 1 if it adds a slot before its layer."""
    slots = sum(map(_most_added, options))
    found = torch.zeros(len(options), _most_removed(options) + 1 + slots, max(map(len, options)))
    first = found.shape[1] - slots
    for layer, there in enumerate(options):
        for option, (remove, add) in enumerate(there):
            if remove != ALL:
                found[layer, remove, option] = 1
            found[layer, first : first + add, option] = 1
        first += _most_added(there)
    return found


def _there(options: Sequence[Sequence[Option]]) -> Tensor:
    """Places in (L, S), row by row, of the slots that have been added up to a layer."""
    counts = list(itertools.accumulate(map(_most_added, options)))
    return torch.cat([layer * counts[-1] + torch.arange(count) for layer, count in enumerate(counts)])
