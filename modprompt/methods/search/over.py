"""A search over MPL's operations, remove, add and carry, for any method that learns prompts: SEARCH.ON.

Every layer but the first uses one of the pairs (remove, add); the first keeps what the method adds there. The result
is a schedule of that method.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from modprompt.checks import at_most
from modprompt.clip.towers import CLIP
from modprompt.engine.schedule import Schedule, Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.methods import table
from modprompt.methods.base import Method
from modprompt.methods.coop import CoOp
from modprompt.methods.parts.groups import LearnedText, PromptsVision, WithDescriptions
from modprompt.methods.parts.learners import Classes
from modprompt.methods.search.learners import SlotsPromptLearner
from modprompt.methods.search.space import MOST, AlphaSettings, options

M = TypeVar("M", bound=Method)
SIDES = ("all", "text", "vision")


@dataclass(frozen=True, repr=False)
class Search(AlphaSettings):
    """What layers may remove and add, and how the choice is learned; `Search(...).over(method)` searches.

    With remove_all a search can find MaPLe, IVLP and DPL's lengths; with remove and add at least as large as MPL's own,
    also MPL.
    """

    node = "SEARCH"

    on: bool = setting(
        False,
        "searches for a schedule with this trainer, instead of training with a fixed schedule, if True",
        compared=False,
    )
    sides: str = setting(
        "all",
        "the encoders whose schedules are searched: all encoders with learned prompts, or only text or vision",
        choices=SIDES,
    )
    remove: int = setting(2, "the maximum number of prompt tokens that a layer may remove", least=0)
    remove_all: bool = setting(True, "lets a layer remove all prompt tokens that reach the layer if True")
    add: int = setting(2, "the maximum number of prompt tokens that a layer may add", least=1)

    def check(self) -> None:
        at_most("REMOVE", self.remove, MOST)
        at_most("ADD", self.add, MOST)

    def over(self, method: M) -> M:
        """The same method, searching for its schedule.

        Raises:
            SettingError: if it has none to find, or the schedule of a searched side is given.
        """
        self.searched(method)
        if method.joined_by is not None:
            names = type(method).__name__, type(method.joined_by).__name__
            raise SettingError([("ON", " does not work for {} with {}.".format(*names))])
        return method.replace_private(search=self)

    def searched(self, method: Method) -> tuple[str, ...]:
        """The sides of a method that are searched.

        Raises:
            SettingError: if there are none, or the schedule of one is given.
        """
        name, there = type(method).__name__, []
        if isinstance(method, AlphaSettings):
            raise SettingError([("ON", f" does not work for {name}, which is a search itself.")])
        if method.not_searched:
            raise SettingError([("ON", f" does not work for {name}: {method.not_searched}.")])
        if isinstance(method, WithDescriptions) and (method.aspath or method.aepath):
            key = "ASPATH" if method.aspath else "AEPATH"
            raise SettingError([("ON", f" does not work with {key}, because prompts with phrases cannot be searched.")])
        if isinstance(method, PromptsVision) and method.wants_vision:
            there.append("vision")
        if isinstance(method, LearnedText):
            there.append("text")
        found = tuple(side for side in there if self.sides in ("all", side))
        if not found:
            what = "prompts" if self.sides == "all" else f"{self.sides} prompts"
            raise SettingError(
                [
                    (
                        "SIDES" if there else "ON",
                        f" {self.sides if there else True} is not supported, because {name} learns no {what}.",
                    )
                ]
            )
        for side in found:
            if getattr(method, f"schedule_{side}"):
                raise SettingError(
                    [
                        (
                            "SIDES",
                            f": SCHEDULE_{side.upper()} is given, so no schedule can be searched for this "
                            f"encoder. Remove SCHEDULE_{side.upper()}.",
                        )
                    ]
                )
        if "text" in found and isinstance(method, CoOp) and method.class_token_position != "end":
            raise SettingError(
                [
                    (
                        "SIDES",
                        ": deep prompts stand at the start of the text, so the search needs CLASS_TOKEN_POSITION end.",
                    )
                ]
            )
        return found

    def slots_of(self, method: Method, clip_model: CLIP, classes: Classes, shape: Shape) -> SlotsPromptLearner:
        """A method's learner with slots instead of its schedule, and alphas."""
        wide = self.widened(method, shape)
        deep = options(self.remove, self.remove_all, self.add)
        found = {side: getattr(wide, side) for side in self.searched(method)}
        each: dict[str, Sequence[Sequence[tuple[int, int]]]] = {
            side: [[(0, own[0].add)], *[deep] * (len(own) - 1)] for side, own in found.items()
        }
        return SlotsPromptLearner(method.learner(clip_model, classes, wide), each)

    def widened(self, method: Method, shape: Shape) -> Schedules:
        """A method's schedules; on searched sides with all that any option adds, and nothing removed."""
        own = method.sides(shape)
        return own._replace(**{side: self._wide(getattr(own, side)) for side in self.searched(method)})

    def _wide(self, own: Schedule) -> Schedule:
        try:
            return Schedule([(0, own[0].add), *[(0, self.add)] * (len(own) - 1)], own.side, own.place)
        except UserError as error:
            raise SettingError(
                [("SEARCH.ADD", f" {self.add} is too large, because some paths remove no prompt tokens: {error}")]
            ) from None


RUNS = "RUNS"  # of the node SEARCH, set for a run whose method searches: it needs validation images


def help_text(method: Any) -> str:
    """Help for the settings of a search; empty for a method that cannot be searched."""
    if not table.BY_NAME[method.__name__].sides or method.not_searched:
        return ""
    return f"settings of the search for a schedule (docs/schedule.md):\n{Search.help_text()}"


def decided(cfg: Any, given: Mapping[str, Any], method: Any, node: str) -> dict[str, bool]:
    """Whether a run searches, as a setting; UserError if it should, but has no prompts to learn.

    cfg is merged, `given` what files, flags and options give; `method` is the class of the trainer's method (None if it
    is not ours), `node` its node under TRAINER (empty if it learns nothing).
    """
    always = method is not None and issubclass(method, AlphaSettings)
    if cfg.SEARCH.ON and not node:
        raise UserError(
            f"SEARCH.ON does not work for {cfg.TRAINER.NAME}, which learns no prompts. Set SEARCH.ON to False."
        )
    unused = [key for key in given if key.startswith("SEARCH.") and key != "SEARCH.ON"]
    if unused and not cfg.SEARCH.ON:
        why = f"{cfg.TRAINER.NAME} uses the settings in TRAINER.{node}" if always else "SEARCH.ON is False"
        warnings.warn(
            f"{', '.join(unused)} {'is' if len(unused) == 1 else 'are'} not used, because {why}.", stacklevel=3
        )
    return {f"SEARCH.{RUNS}": bool(cfg.SEARCH.ON or always)}


def over(method: Any, cfg: Any) -> Any:
    """A method, searching for its schedule if SEARCH.ON says so.

    Raises:
        SettingError: if a setting does not fit, or the method has no schedule to find.
    """
    node = cfg.get("SEARCH", {})
    if not node.get("ON", False):
        return method
    try:
        return Search.of(Search.in_node(node)).over(method)
    except SettingError as error:
        raise error.under("SEARCH") from None
