"""Groups of settings that heads share, each with what it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.io.images import ALL, FEW
from modprompt.methods.heads.base import TEST, VAL
from modprompt.methods.heads.headed import HeadMethod
from modprompt.methods.heads.search import Grid

SPLIT = "validation split"  # where a search may look against the project's rule, as on TEST


@dataclass(frozen=True, repr=False)
class FreshViewsHead(HeadMethod):
    """A head that is trained on a new view of the training images in every epoch."""

    views: int = setting(0, "views of the images that are kept and used in turn; 0: a new one in every epoch", least=0)

    def kept_views(self) -> int:
        return self.views


@dataclass(frozen=True, repr=False)
class SearchedHead(HeadMethod):
    """A head with alpha and beta, searched after the training on validation images, min(shots, 4) per class."""

    search_hp: bool = setting(True, "search for alpha and beta where there are validation images", compared=False)
    search_scale: Sequence[float] = setting((7.0, 3.0), "ends of the ranges of beta and alpha", compared=False)
    search_step: Sequence[int] = setting((200, 20), "how many values of beta and of alpha are tried", compared=False)
    search_on: str = setting(
        "",
        "images of the search; empty: few validation images, or training images held out for it; "
        "others, as in some references, mark the result",
        choices=("", SPLIT, TEST),
        compared=False,
    )

    def check(self) -> None:
        super().check()
        faults = []
        if not _two(self.search_scale, (int, float), 0.1):
            faults.append(("SEARCH_SCALE", f" must be two numbers above 0.1, got {list(self.search_scale)}"))
        if not _two(self.search_step, (int,), 0):
            faults.append(("SEARCH_STEP", f" must be two whole numbers from 1 up, got {list(self.search_step)}"))
        if faults:
            raise SettingError(faults)

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        if not settings["SEARCH_HP"]:
            return ""
        return {"": FEW, SPLIT: ALL}.get(settings["SEARCH_ON"], "")

    def grid(self) -> Grid | None:
        if not self.search_hp:
            return None
        (most_beta, most_alpha), (betas, alphas) = self.search_scale, self.search_step
        return Grid(most_beta, most_alpha, betas, alphas)

    def searched_on(self) -> str:
        return TEST if self.search_on == TEST else VAL


def _two(values: Sequence[Any], kinds: Any, above: float) -> bool:
    numbers = [one for one in values if isinstance(one, kinds) and not isinstance(one, bool) and one > above]
    return len(values) == len(numbers) == 2
