"""Records a step and runs it again: as one CUDA graph, in a memory pool of its own."""

import contextlib
from collections.abc import Callable
from typing import Any

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
        return "" if device.type == "cuda" else "this run has no CUDA device"

    def aside(self, step: Call) -> Done:
        """Run a step on a separate stream, as PyTorch requires before a recording."""
        main = torch.cuda.current_stream()
        side = self._side = self._side or torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            done = step()
        main.wait_stream(side)
        return done

    def record(self, step: Call) -> Done:
        """Record what a step does, without doing it; loader threads may pin memory meanwhile.

        Returns:
            The tensors that a replay writes the step's results to.

        Raises:
            RuntimeError: on what cannot be recorded; call `release` when nobody holds the error any more.
        """
        self._graph, self._pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        # the outer stream is restored even if the end of a failed recording raises
        main = torch.cuda.current_stream()
        with torch.cuda.stream(main), torch.cuda.graph(self._graph, self._pool, capture_error_mode="thread_local"):
            return step()

    def replay(self) -> None:
        """Run what was recorded."""
        self._graph.replay()

    def release(self) -> None:
        """Free the memory of the recording, also of a failed one."""
        if self._graph is None:
            return
        self._graph.reset()
        self._graph, device = None, torch.cuda.current_device()
        with contextlib.suppress(RuntimeError):
            # up to 2.11 a failed recording never ends (pytorch#180395); if it did end, this raises
            _end_of_allocating()(device, self._pool)
        with contextlib.suppress(RuntimeError):  # of a recording that never ended
            torch.cuda.empty_cache()
        with contextlib.suppress(RuntimeError):  # not every allocator lists its memory
            segments = [one for one in torch.cuda.memory_snapshot() if one.get("segment_pool_id") == self._pool]
            if not all(one["active_size"] for one in segments):
                # unused but not freed: up to 2.13 the pool is never released (pytorch#190348)
                torch._C._cuda_releasePool(device, self._pool)
                torch.cuda.empty_cache()


def _end_of_allocating() -> Callable[[int, Any], None]:
    """The function (device, pool) that ends allocating from a pool; up to PyTorch 2.7 it had another name."""
    names = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")
    found = [getattr(torch._C, name) for name in names if hasattr(torch._C, name)]
    return found[0] if found else lambda device, pool: None
