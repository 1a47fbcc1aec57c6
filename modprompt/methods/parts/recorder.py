"""What records a step and runs it again: one CUDA graph, in a memory pool of its own."""

import contextlib
from typing import Any, Callable

import torch

from modprompt.methods.parts.step import Done

Call = Callable[[], Done]


class Recorder:
    """Records one step into a torch.cuda.CUDAGraph."""

    _side: Any = None
    _graph: Any = None
    _pool: Any = None

    def obstacle(self, device: torch.device) -> str:
        """Why nothing can be recorded on a device; "" if it can."""
        if device.type != "cuda":
            return "this run has no CUDA device"
        if not hasattr(torch, "_fused_sgd_"):
            return f"PyTorch {torch.__version__} has no SGD whose rate lies on the GPU; 2.3 has"
        return ""

    def aside(self, step: Call) -> Done:
        """Run a step on a stream of its own, as PyTorch asks of those in front of a recording."""
        main = torch.cuda.current_stream()
        side = self._side = self._side or torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            done = step()
        main.wait_stream(side)
        return done

    def record(self, step: Call) -> Done:
        """Write down what a step does, without doing it; loader threads may pin memory meanwhile.

        Returns:
            Where a replay leaves what the step returns.

        Raises:
            RuntimeError: on what cannot be recorded; `release` is due when nobody has the error any more.
        """
        self._graph, self._pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        # the outer stream is taken back even where the end of a recording that failed raises
        main = torch.cuda.current_stream()
        with torch.cuda.stream(main), torch.cuda.graph(self._graph, self._pool, capture_error_mode="thread_local"):
            return step()

    def replay(self) -> None:
        """Do what was recorded."""
        self._graph.replay()

    def release(self) -> None:
        """Give back the memory of the recording, of one that failed too."""
        if self._graph is None:
            return
        self._graph.reset()
        self._graph, device = None, torch.cuda.current_device()
        with contextlib.suppress(RuntimeError):
            # up to 2.11 one that failed is under way for good (pytorch#180395); where it is not, this raises
            _end_of_allocating()(device, self._pool)
        with contextlib.suppress(RuntimeError):  # of one that is under way all the same
            torch.cuda.empty_cache()
        with contextlib.suppress(RuntimeError):  # not every allocator tells what it has
            segments = [one for one in torch.cuda.memory_snapshot() if one.get("segment_pool_id") == self._pool]
            if not all(one["active_size"] for one in segments):
                # idle and still there: up to 2.13 nobody has let go of the pool (pytorch#190348)
                torch._C._cuda_releasePool(device, self._pool)
                torch.cuda.empty_cache()


def _end_of_allocating() -> Callable[[int, Any], None]:
    """What ends allocating from a pool: (device, pool); it has had another name up to PyTorch 2.7."""
    names = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")
    found = [getattr(torch._C, name) for name in names if hasattr(torch._C, name)]
    return found[0] if found else lambda device, pool: None
