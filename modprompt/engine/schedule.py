"""Prompt schedules: how many prompt tokens are removed and added before each transformer layer.

What is not removed is carried on by the layer before. Every method of the family is a value:

    replacement (MaPLe, VPT-deep, IVLP)   remove all, add as many
    shallow prompting (CoOp, VPT-shallow) add once before layer 0
    modular prompting (MPL, arXiv 2502.14125, section 2): remove some, add more
"""

from collections.abc import Sequence
from typing import NamedTuple

from modprompt.checks import one_of
from modprompt.errors import SettingError, UserError

BEHIND_START, BEFORE_START, BEHIND_POSITIONS = "behind_start", "before_start", "behind_positions"
BEFORE_LN_PRE, BEHIND_LN_PRE = "before_ln_pre", "behind_ln_pre"
PLACES: dict[str, tuple[str, str]] = {  # where prompt tokens of a side stand; the family's place first
    "text": (BEHIND_START, BEFORE_START),
    "vision": (BEFORE_LN_PRE, BEHIND_LN_PRE),
}
_ALL_PLACES = {**PLACES, "text": (*PLACES["text"], BEHIND_POSITIONS)}  # the last is no setting: methods set it
MOST_TOKENS = 1024  # prompt tokens before a layer: more than any method has, and few enough for any machine


class TooManyTokens(UserError):
    """A layer would have more prompt tokens than MOST_TOKENS."""


class Step(NamedTuple):
    """What happens before one layer: the last `remove` prompt tokens go, then `add` new ones are appended."""

    remove: int
    add: int


CARRY = Step(0, 0)


class Schedule(tuple[Step, ...]):
    """One Step per transformer layer, checked when built.

    Where the tokens stand is a property of the whole side. Text: after the start token, where those of layer 0 replace
    words and have their positions; or before it, without positions and replacing no word (DPL, arXiv 2501.00457: then
    every word, the start token too, sees them); or after it without positions, replacing no word (MMRL, arXiv
    2503.08497). Vision: at the end, those of layer 0 before or after `ln_pre`.

    Args:
        steps: (remove, add) pairs, one per layer.
        side: its name in messages, "vision" or "text".
        place: one of PLACES of the side, or BEHIND_POSITIONS; empty for the family's.

    Raises:
        UserError: if a step is not a pair of whole numbers from 0 up, or a layer removes more prompt tokens than
            reach it, or then has more than MOST_TOKENS (the message names the layer); or on another place.
    """

    side: str
    place: str

    def __new__(cls, steps: Sequence[Sequence[int]], side: str = "vision", place: str = "") -> "Schedule":
        schedule = super().__new__(cls, [cls._step(step, layer, side) for layer, step in enumerate(steps)])
        schedule.side = side
        schedule.place = place or PLACES[side][0]
        one_of(f"PLACE_{side.upper()}", schedule.place, _ALL_PLACES[side])
        schedule._check()
        return schedule

    def __reduce__(self) -> tuple[type["Schedule"], tuple[tuple[Step, ...], str, str]]:
        return Schedule, (tuple(self), self.side, self.place)

    def at(self, place: str) -> "Schedule":
        """The same steps at another place; empty keeps the place."""
        return Schedule(self, self.side, place or self.place)

    @staticmethod
    def _step(step: Sequence[int], layer: int, side: str) -> Step:
        whole = isinstance(step, (tuple, list)) and len(step) == 2
        if not whole or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in step):
            raise UserError(
                f"{side} schedule, layer {layer}: expected a pair of non-negative whole numbers [remove, add], got "
                f"{step!r}."
            )
        return Step(*step)

    def _check(self) -> None:
        present = 0
        for layer, step in enumerate(self):
            if step.remove > present:
                raise UserError(
                    f"{self.side} schedule, layer {layer}: the step removes {step.remove} prompt tokens, but "
                    f"this layer has only {present} to remove. Remove fewer tokens at this layer, or add more tokens "
                    "at earlier layers."
                )
            present += step.add - step.remove
            if present > MOST_TOKENS:
                raise TooManyTokens(
                    f"{self.side} schedule, layer {layer}: this layer would have {present} prompt tokens, but at most "
                    f"{MOST_TOKENS} are supported. Add fewer tokens, or remove more tokens before this layer."
                )

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of prompt tokens that enter each layer."""
        counts, present = [], 0
        for step in self:
            present += step.add - step.remove
            counts.append(present)
        return tuple(counts)

    @property
    def among_words(self) -> int:
        """Number of layer 0's prompt tokens that replace words and have their positions."""
        return self[0].add if self and self.place == BEHIND_START else 0

    @property
    def depth(self) -> int:
        """Number of layers up to and including the last that removes or adds."""
        return max((layer + 1 for layer, step in enumerate(self) if step != CARRY), default=0)

    def table(self) -> str:
        """The schedule as text: one row each for removed, added, carried and present tokens, a column per layer."""
        counts = self.counts
        carried = [count - step.add for count, step in zip(counts, self)]
        rows = [
            (f"{self.side} layer", range(len(self))),
            ("removed", (step.remove for step in self)),
            ("added", (step.add for step in self)),
            ("carried", carried),
            ("prompt tokens", counts),
        ]
        return "\n".join(f"{name:<14}" + "".join(f"{n:>4}" for n in numbers) for name, numbers in rows)


class Shape(NamedTuple):
    """Number of transformer layers of a CLIP's sides; a ResNet has no vision layers."""

    text_layers: int
    vision_layers: int


class Schedules(NamedTuple):
    """The schedules of both sides of a model."""

    text: Schedule
    vision: Schedule


def no_prompts(layers: int, side: str = "vision") -> Schedule:
    """A schedule that adds nothing."""
    return Schedule([CARRY] * layers, side)


def without_prompts(shape: Shape) -> Schedules:
    """Schedules that add nothing on either side."""
    return Schedules(no_prompts(shape.text_layers, "text"), no_prompts(shape.vision_layers))


def modular(
    layers: int,
    depth: int,
    first: int,
    remove: int,
    add: int,
    side: str = "vision",
    depth_name: str = "PROMPT_DEPTH",
) -> Schedule:
    """`first` tokens before layer 0, the same (remove, add) before layers 1 to depth-1, then carry.

    Raises:
        UserError: if depth (the setting `depth_name`) is not in 1..layers, or a layer removes more than reaches it.
    """
    check_depth(depth, layers, depth_name)
    steps = [Step(0, first)] + [Step(remove, add)] * (depth - 1) + [CARRY] * (layers - depth)
    return Schedule(steps, side)


def replacement(
    layers: int, depth: int, n_ctx: int, side: str = "vision", depth_name: str = "PROMPT_DEPTH"
) -> Schedule:
    """`n_ctx` new tokens before each of the first `depth` layers, replacing those of the layer before."""
    return modular(layers, depth, n_ctx, n_ctx, n_ctx, side, depth_name)


def shallow(layers: int, n_ctx: int, side: str = "vision") -> Schedule:
    """`n_ctx` tokens before layer 0, carried to the end."""
    return modular(layers, 1, n_ctx, 0, 0, side)


def by_lengths(lengths: Sequence[int], side: str = "vision", place: str = "") -> Schedule:
    """Replacement with a length for each layer, as in DPL (arXiv 2501.00457); 0 is a layer without prompts.

    Raises:
        UserError: if a length is not a whole number from 0 up.
    """
    return Schedule(list(zip([0, *lengths[:-1]], lengths)), side, place)


def from_config(steps: Sequence[Sequence[int]], layers: int, side: str, first: int, name: str = "N_CTX") -> Schedule:
    """A schedule from a config, [[remove, add], ...]; layers that are not listed carry.

    Raises:
        UserError: as Schedule; if there are more steps than layers; or if layer 0 adds another number of tokens than
            `first`, the value of the setting `name` (without a name it may add any number).
    """
    if len(steps) > layers:
        raise UserError(
            f"The {side} schedule has {len(steps)} steps, but the model has {layers} {side} layers. Set one step "
            "for each layer."
        )
    schedule = Schedule(list(steps) + [CARRY] * (layers - len(steps)), side)
    if name and schedule[0].add not in (0, first):
        raise UserError(
            f"{side} schedule, layer 0: the number of added tokens must be {first} ({name}), but is {schedule[0].add}."
        )
    return schedule


def check_depth(depth: int, layers: int, name: str = "PROMPT_DEPTH") -> None:
    """Raise UserError unless 1 <= depth <= layers."""
    if not 1 <= depth <= layers:
        raise SettingError([(name, f" must be from 1 to {layers}, the number of layers of this model, got {depth}.")])
