"""What is asked of PyTorch around a recording, by stand-ins for what a CPU's does not have."""

import contextlib

import pytest
import torch

from modprompt.methods.parts.recorder import Recorder

POOL = (0, 7)


class Card:
    """A PyTorch of some version: who lets go of a pool whose recording failed."""

    def __init__(self, ends_itself, lets_go_itself):
        self.ends_itself, self.lets_go_itself = ends_itself, lets_go_itself
        self.underway, self.users, self.idle = False, 0, 0  # idle: segments of the pool that nobody uses
        self.emptied = 0

    def begin(self, pool):
        assert pool == POOL
        self.underway, self.users, self.idle = True, 1, 2

    def end(self, device, pool):
        assert (device, pool) == (0, POOL)
        if not self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway = False

    def let_go(self, device, pool):
        assert (device, pool) == (0, POOL)
        assert self.users == 1, "a pool that is let go of twice can never be emptied"
        self.users = 0

    def empty_cache(self):
        assert not self.underway
        self.emptied += 1
        self.idle = self.idle if self.users else 0

    def snapshot(self):
        others = [{"segment_pool_id": (0, 0), "active_size": 0}, {"segment_pool_id": POOL, "active_size": 512}]
        return others + [{"segment_pool_id": POOL, "active_size": 0}] * self.idle


@pytest.fixture
def card(monkeypatch, request):
    *kind, ends = request.param
    made = Card(*kind)

    class Graph:
        def reset(self):
            if self.whole or made.lets_go_itself:
                made.let_go(0, POOL)

        def replay(self):
            assert self.whole

    @contextlib.contextmanager
    def recording(graph, pool, capture_error_mode):
        assert capture_error_mode == "thread_local"
        graph.whole = False
        made.begin(pool)
        try:
            yield
        except RuntimeError:
            if made.ends_itself:
                made.end(0, pool)
            raise
        made.end(0, pool)
        graph.whole = True

    for name, value in {
        "CUDAGraph": Graph,
        "graph": recording,
        "graph_pool_handle": lambda: POOL,
        "current_stream": lambda: None,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_device": lambda: 0,
        "empty_cache": made.empty_cache,
        "memory_snapshot": made.snapshot,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.delattr(torch._C, "_cuda_endAllocateToPool", raising=False)
    monkeypatch.setattr(torch._C, ends, made.end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", made.let_go, raising=False)
    return made


NOW, UP_TO_2_7 = "_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"
VERSIONS = pytest.mark.parametrize(
    "card",
    [(False, False, UP_TO_2_7), (False, False, NOW), (True, False, NOW), (True, True, NOW)],
    ids=["2.7", "2.11", "2.13", "newer"],
    indirect=True,
)


def failing():
    raise RuntimeError("broken off")


@VERSIONS
def test_pool_of_a_recording_that_fails_is_let_go_of_once(card):
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="broken off"):
        recorder.record(failing)
    recorder.release()
    assert (card.underway, card.users, card.idle) == (False, 0, 0)
    emptied = card.emptied
    recorder.release()  # there is nothing any more
    assert card.emptied == emptied


@VERSIONS
def test_pool_of_a_whole_recording_is_let_go_of_once(card):
    recorder = Recorder()
    assert recorder.record(lambda: "done") == "done"
    recorder.replay()
    recorder.release()
    assert (card.underway, card.users, card.idle) == (False, 0, 0)


def test_release_before_anything_is_recorded_asks_nothing():
    Recorder().release()


@pytest.mark.parametrize("card", [(True, True, NOW)], indirect=True)
def test_allocator_that_tells_nothing_does_not_end_the_run(card, monkeypatch):
    def refusing():
        raise RuntimeError("not meaningful with this backend")

    monkeypatch.setattr(torch.cuda, "memory_snapshot", refusing)
    recorder = Recorder()
    recorder.record(lambda: "done")
    recorder.release()
    assert card.users == 0
