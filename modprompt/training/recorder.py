"""What records a step: CUDA graphs."""

from typing import Any, Callable, Protocol, Tuple

import torch

from modprompt.training.step import Done

Call = Callable[[], Done]


class Recorder(Protocol):
    """CudaRecorder, or what stands in for it where there is no card."""

    def obstacle(self, device: torch.device) -> str:
        """Why nothing can be recorded on a device; "" if it can."""

    def aside(self, step: Call) -> Done:
        """Run a step where recorded ones run."""

    def record(self, step: Call) -> Tuple[Done, Callable[[], object]]:
        """Write down what a step does, without doing it.

        Returns:
            Where a replay leaves what the step returns, and the replay.

        Raises:
            RuntimeError: on what cannot be recorded.
        """


class CudaRecorder:
    """Records into a torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self._side: Any = None

    def obstacle(self, device: torch.device) -> str:
        """As Recorder."""
        if device.type != "cuda":
            return "this run has no CUDA device"
        if not hasattr(torch, "_fused_sgd_"):
            return f"PyTorch {torch.__version__} has no SGD whose rate lies on the card; 2.3 has"
        return ""

    def aside(self, step: Call) -> Done:
        """Run a step on a stream of its own."""
        main = torch.cuda.current_stream()
        side = self._side = self._side or torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            done = step()
        main.wait_stream(side)
        return done

    def record(self, step: Call) -> Tuple[Done, Callable[[], object]]:
        """As Recorder. Loader threads may pin memory meanwhile."""
        graph = torch.cuda.CUDAGraph()
        # the outer stream is taken back even where the end of a recording that failed raises
        main = torch.cuda.current_stream()
        with torch.cuda.stream(main), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            done = step()
        return done, graph.replay
