"""What other packages know of rounds of active learning."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.active.settings import FOLDER, Active, known, require_none
from modprompt.errors import UserError
from modprompt.feature import Feature, Waiting


class ActiveFeature(Feature):
    """Runs in rounds, each after a choice of images to label: ACTIVE.ROUNDS."""

    name = "active"
    node = "ACTIVE"
    labelling = "ACTIVE.ROUNDS says how many rounds choose images to label, of which --no-train runs none"
    leaves = (FOLDER,)
    is_protocol = True
    narrows = {"acquisitions": "only these acquisitions, in a file with rounds"}
    figures = ("rounds", "rounds_new", "covered", "balance")

    def settings(self) -> Any:
        """The settings of rounds."""
        return Active

    def help(self, method: Any) -> str:
        """Help for the settings of rounds, around any method."""
        return f"rounds that choose which images are labelled (docs/active.md):\n{Active.help_text()}"

    def takes_all(self, given: Callable[[str], str], trainer: str) -> bool:
        """Whether it runs in rounds, which choose from all images."""
        from modprompt.methods.table import BY_NAME

        rounds = given("ACTIVE.ROUNDS")
        return rounds != "0" if rounds else trainer in BY_NAME and BY_NAME[trainer].rounds

    def check(self, cfg: Any) -> None:
        """Check the settings of rounds."""
        from modprompt.active.rounds import settings_of

        settings_of(cfg)

    def labels_later(self, cfg: Any) -> bool:
        """Whether it runs in rounds."""
        return bool(cfg.ACTIVE.ROUNDS)

    def single(self) -> Mapping[str, Any]:
        """No rounds."""
        return {"ROUNDS": 0}

    def run(self, cfg: Any, settings: Any) -> bool:
        """Run all rounds that are not done."""
        if not cfg.ACTIVE.ROUNDS:
            return False
        from modprompt.active import rounds

        rounds.run(cfg, settings)
        return True

    def preload(self) -> None:
        """Import the rounds."""
        import modprompt.active.rounds  # noqa: F401

    def check_single(self, cfg: Any) -> None:
        """Raise UserError if rounds are asked for: nobody runs them here."""
        if cfg.ACTIVE.ROUNDS:
            raise UserError("ACTIVE.ROUNDS: only `modprompt active`, and the train.py of its project, run rounds")

    def require_free(self, folder: str) -> None:
        """Raise UserError if it holds rounds."""
        require_none(folder)

    def labels(self, result: Mapping[str, Any]) -> str:
        """How many labels all its rounds have."""
        active = result.get("active")
        rounds = active.get("rounds") if isinstance(active, Mapping) else None
        return f"{rounds[-1].get('labels')} in {len(rounds)} rounds of {active['method']}" if rounds and active else ""

    def changed(self, folder: Any, result: Mapping[str, Any]) -> list[str]:
        """Which rounds have other labels now, or no record any more."""
        if not result.get("active"):
            return []
        from modprompt.compat import find

        find.add_to_path()
        from modprompt.active.labelling import differing  # late: it brings PyTorch and Dassl

        return differing(folder, result)

    def waits(self, folder: Any) -> Waiting | None:
        """The labels that a round lacks."""
        from modprompt.active.asked import asked

        found = asked(Path(folder))
        return None if found is None else Waiting(found.text, bool(found.missing))

    def progress(self, folder: Any) -> str:
        """Which round it is in, by the newest record."""
        numbers = known(Path(folder, FOLDER))
        return f"round {numbers[-1]}" if numbers else ""

    def goes_on(self, result: Mapping[str, Any], settings: Mapping[str, str], differing: Sequence[str]) -> str:
        """Whether more rounds are asked for, and all else is the same."""
        active, key = result.get("active"), "ACTIVE.ROUNDS"
        there, wanted = len(active["rounds"]) if isinstance(active, dict) else 0, settings.get(key, "")
        more = bool(there) and wanted.isdecimal() and int(wanted) > there
        only = all(one.startswith(f"{key} ") for one in differing)
        return "is finished with fewer rounds (ACTIVE.ROUNDS)" if more and only else ""

    def plan(self) -> Any:
        """Protocol active."""
        from modprompt.active import plan

        return plan

    def report(self) -> Any:
        """The report on its rounds."""
        from modprompt.active import report

        return report

    def chose_images(self, result: Mapping[str, Any]) -> bool:
        """Whether rounds chose them."""
        return "active" in result


FEATURE = ActiveFeature()
