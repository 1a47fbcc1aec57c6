"""The search for a schedule, as other packages see it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.errors import SettingError, UserError
from modprompt.feature import Feature, FirstStage, NamedFile
from modprompt.methods import table
from modprompt.methods.search import file, schedule_files

RUNS = "RUNS"  # set for a run whose method searches: it needs validation images

_OF_SCHEDULE = ("SCHEDULE_", "LENGTHS_", "IMG_ALPHA_PATH", "TXT_ALPHA_PATH")  # how keys begin that set what it finds


class SearchFeature(Feature):
    """A run that searches: SEARCH.ON, or a method that is a search by itself."""

    name = "search"
    node = "SEARCH"
    decided = {RUNS: False}
    in_records = True
    stage = FirstStage(
        key="search",
        name="its search",
        plural="searches",
        without="searches: write the schedule out",
        seconds="a search",
    )
    tested = {"mixture_pct": "mixture", "path_pct": "discrete path"}
    alone = "a search is not run in rounds; give rounds the schedule that it leaves"
    otherwise = "does not search: SEARCH.ON True, or DPLSearch"

    def settings(self) -> Any:
        """The settings of a search around any method."""
        from modprompt.methods.search.over import Search

        return Search

    def help(self, method: Any) -> str:
        """Help for the settings of a search, for a method that can be searched."""
        if not table.BY_NAME[method.__name__].sides or method.searching.refused:
            return ""
        return f"its search for a schedule (docs/search.md):\n{self.settings().help_text()}"

    def read(self, given: Any, planned: bool = False) -> Any:
        """Replace named files by the schedules in them."""
        return schedule_files.expanded(given, planned)

    def file_in(self, key: str, value: Any) -> NamedFile | None:
        """The file of a schedule, or any that DPL's settings name."""
        return schedule_files.named_by(key, value)

    def fault_of_stage(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """A search finds a schedule, which the trainer must accept and must not have yet."""
        if not table.sides_of(trainer):
            return f"{trainer} is not one of our methods whose schedule can be set"
        node = table.row_of(trainer).node
        given = [key for key in keys if key.startswith(f"{node}.") and self.finds(key)]
        return f"{given[0]} is set, but a search is to find it" if given else ""

    def finds(self, key: str) -> bool:
        """Whether a key sets a schedule, however it is written."""
        return key.rpartition(".")[2].startswith(_OF_SCHEDULE)

    def handed_on(self, folder: Any, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The schedules of all sides that the trainer's settings can give."""
        row, path = table.BY_NAME[trainer], Path(folder, file.FILE_NAME)
        return tuple((f"{row.node}.SCHEDULE_{side.upper()}", f"@{path}") for side in row.sides)

    def decides(self, cfg: Any, given: Any, method: Any, node: str) -> Mapping[str, Any]:
        """Whether the run searches.

        Raises:
            UserError: if it should search, but has no prompts to learn.
        """
        always = method is not None and method.searching.always
        if cfg.SEARCH.ON and not node:
            raise UserError(f"SEARCH.ON True: {cfg.TRAINER.NAME} learns no prompts")
        unused = [key for key in given if key.startswith("SEARCH.") and key != "SEARCH.ON"]
        if unused and not cfg.SEARCH.ON:
            why = f"{cfg.TRAINER.NAME} reads TRAINER.{node}" if always else "SEARCH.ON is False"
            warnings.warn(f"{', '.join(unused)} is not used: {why}", stacklevel=3)
        return {RUNS: bool(cfg.SEARCH.ON or always)}

    def takes_part(self, cfg: Any) -> bool:
        """Whether the run searches: alphas learn from validation images."""
        return bool(getattr(getattr(cfg, self.node, None), RUNS, False))

    def method(self, method: Any, cfg: Any) -> Any:
        """The method, searching for its schedule if SEARCH.ON says so.

        Raises:
            SettingError: if a setting does not fit, or the method has no schedule to find.
        """
        node = cfg.get(self.node, {})
        if not node.get("ON", False):
            return method
        search = self.settings()
        try:
            return search.of(search.in_node(node)).over(method)
        except SettingError as error:
            raise error.under(self.node) from None

    def preload(self) -> None:
        """Import the run's part."""
        import modprompt.methods.search.run  # noqa: F401

    def part(self, trainer: Any) -> Any | None:
        """The part that alternates with a trainer's steps."""
        if trainer.run.method.search is None:
            return None
        from modprompt.methods.search.run import SearchRun

        return SearchRun(trainer)

    def lacks(self, folder: Any) -> str:
        """What is wrong with the schedule that a search must leave."""
        return file.fault(folder)


FEATURE = SearchFeature()
