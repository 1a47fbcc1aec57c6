"""What learners of a search share: options for every layer, and alphas that weight them.

Shapes: L layers, O options of the layer with the most.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.engine.schedule import Schedule
from modprompt.methods.parts.learner import Learner
from modprompt.methods.search.file import SIDES
from modprompt.methods.search.space import Option, best_path, margins, steps_of

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
        if not hasattr(self, "alphas"):
            self.alphas, self.options = nn.ParameterDict(), {}
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
