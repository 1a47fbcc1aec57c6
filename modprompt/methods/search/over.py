"""A search over MPL's operations, remove, add and carry, for any method that learns prompts.

Every layer but the first uses one of the pairs (remove, add); the first keeps what the method adds there. The result
is a schedule of that method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from modprompt.checks import at_most
from modprompt.clip.towers import CLIP
from modprompt.engine.schedule import Schedule, Schedules, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.coop import CoOp
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.descriptions import WithDescriptions
from modprompt.methods.parts.groups import LearnedText, PromptsVision
from modprompt.methods.search.learners import SlotsPromptLearner
from modprompt.methods.search.space import MOST, AlphaSettings, Option, options

M = TypeVar("M", bound=Method)
SIDES = ("all", "text", "vision")


def _require_searchable(method: Method) -> None:
    """Raise SettingError if there cannot be a search for a method's schedule."""
    name = type(method).__name__
    if method.searching.always:
        raise SettingError([("ON", f" does not work for {name}, which is a search by itself")])
    if method.searching.refused:
        raise SettingError([("ON", f" does not work for {name}: {method.searching.refused}")])
    if isinstance(method, WithDescriptions) and (method.aspath or method.aepath):
        key = "ASPATH" if method.aspath else "AEPATH"
        raise SettingError([("ON", f" does not work with {key}: prompts of phrases are not searched")])


@dataclass(frozen=True, repr=False)
class Search(AlphaSettings):
    """What layers may remove and add, and how the choice is learned; `Search(...).over(method)` searches.

    With remove_all a search can find MaPLe, IVLP and DPL's lengths; with remove and add at least as large as MPL's own,
    also MPL.
    """

    node = "SEARCH"

    on: bool = setting(False, "whether the trainer searches for its schedule instead of training by it", compared=False)
    sides: str = setting("all", "the sides that are searched: all that have learned prompts, or one", choices=SIDES)
    remove: int = setting(2, "most prompt tokens that a layer removes by number", least=0)
    remove_all: bool = setting(True, "whether a layer may remove all tokens that reach it")
    add: int = setting(2, "most prompt tokens that a layer adds", least=1)

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
            raise SettingError([("ON", " does not work for {} with {}".format(*names))])
        return method.replace_private(search=self)

    def searched(self, method: Method) -> tuple[str, ...]:
        """The sides of a method that are searched.

        Raises:
            SettingError: if there are none, or the schedule of one is given.
        """
        name = type(method).__name__
        _require_searchable(method)
        there = []
        if isinstance(method, PromptsVision) and method.wants_vision:
            there.append("vision")
        if isinstance(method, LearnedText):
            there.append("text")
        found = tuple(side for side in there if self.sides in ("all", side))
        if not found:
            what = "prompts" if self.sides == "all" else f"{self.sides} prompts"
            raise SettingError(
                [("SIDES" if there else "ON", f" {self.sides if there else True}: {name} learns no {what}")]
            )
        for side in found:
            if getattr(method, f"schedule_{side}"):
                raise SettingError([("SIDES", f": SCHEDULE_{side.upper()} is given: there is nothing to find")])
        if "text" in found and isinstance(method, CoOp) and method.class_token_position != "end":
            raise SettingError([("SIDES", ": deep prompts stand at the start: it needs CLASS_TOKEN_POSITION end")])
        return found

    def slots_of(self, method: Method, clip_model: CLIP, classes: Classes, shape: Shape) -> SlotsPromptLearner:
        """A method's learner with slots instead of its schedule, and alphas."""
        wide = self.widened(method, shape)
        inner = method.learner(clip_model, classes, wide)
        return SlotsPromptLearner(inner, self._options(method, wide))

    def widened(self, method: Method, shape: Shape) -> Schedules:
        """A method's schedules; on searched sides with all that any option adds, and nothing removed."""
        own = type(method).sides(method, shape)
        wide = {side: self._wide(getattr(own, side)) for side in self.searched(method)}
        return own._replace(**wide)

    def _wide(self, own: Schedule) -> Schedule:
        try:
            return Schedule([(0, own[0].add), *[(0, self.add)] * (len(own) - 1)], own.side, own.place)
        except UserError as error:
            raise SettingError([("SEARCH.ADD", f" {self.add}, where nothing is removed: {error}")]) from None

    def _options(self, method: Method, wide: Schedules) -> dict[str, Sequence[Sequence[Option]]]:
        found: dict[str, Sequence[Sequence[Option]]] = {}
        deep: list[Option] = options(self.remove, self.remove_all, self.add)
        for side in self.searched(method):
            schedule = getattr(wide, side)
            found[side] = [[(0, schedule[0].add)], *[deep] * (len(schedule) - 1)]
        return found
