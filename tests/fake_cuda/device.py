"""Models on fake CUDA tensors: the context in which a model that was built with values moves to a card that has none."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from modprompt.clip import facts
from modprompt.engine import prompts
from modprompt.methods.base import Method
from tests.fake_cuda import choices
from tests.fake_cuda.answers import answering

FREE = 70 * 2**30  # bytes of the card's memory
CUDA = torch.device("cuda", 0)


def _held(module: nn.Module) -> list[nn.Module]:
    """A module's children, and modules that it holds without calling them its own."""
    return [one for one in (*module.children(), *vars(module).values()) if isinstance(one, nn.Module)]


class _Moves:
    """nn.Module._apply for fake tensors: one fake for a tensor, however many modules hold it."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self._mode = mode
        self._going: set[int] = set()  # modules whose parts are being moved, by id
        self._fakes: dict[int, tuple[Tensor, Tensor]] = {}  # by id of a tensor with values, which is kept alive

    def apply(self, module: nn.Module, fn: Callable[[Tensor], Tensor]) -> nn.Module:
        if id(module) in self._going:
            return module
        self._going.add(id(module))
        for part in _held(module):
            part._apply(fn)  # which it may have of its own
        holders: Any = (module._parameters, module._buffers)
        for held in holders:
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = self._moved(tensor, fn)
        self._going.remove(id(module))
        return module

    def _moved(self, tensor: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
        if id(tensor) in self._fakes:
            return self._fakes[id(tensor)][1]
        with torch.no_grad(), self._mode:
            moved = fn(tensor.detach())
        if not isinstance(tensor, FakeTensor) and moved.device.type == "cpu":
            with torch.no_grad(), unset_fake_temporarily():
                moved = fn(tensor.detach())  # a cast on the CPU leaves values
        if isinstance(tensor, FakeTensor) or not isinstance(moved, FakeTensor):
            tensor.data = moved
            if isinstance(tensor, FakeTensor) and isinstance(moved, FakeTensor):
                tensor.fake_device = moved.fake_device  # which data does not take along
            return tensor
        if isinstance(tensor, nn.Parameter):
            moved = nn.Parameter(moved, requires_grad=tensor.requires_grad)
        self._fakes[id(tensor)] = tensor, moved
        return moved


class _NoCard(FakeTensorMode):
    """The mode of a machine that has no card, whatever it is told: nothing is made on one."""

    avoid_device_init = True  # there it is a property that asks torch.cuda


def with_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, run outside of the fake mode: what it asks of tensors are numbers."""

    @functools.wraps(function)
    def run(*inputs: Any, **named: Any) -> Any:
        with unset_fake_temporarily():
            return function(*inputs, **named)

    return run


@contextlib.contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Within it a card is there: `module.to("cuda")` gives fake tensors, and what is made of them is fake.

    Class names become tokens with values, and a method is put on a CLIP with values; all else has none.
    """
    mode = _NoCard(allow_non_fake_inputs=True)
    moves = _Moves(mode)
    embed, laid_out, move = prompts.embed_ids, prompts.PromptText._lay_out, nn.Module.to

    def apply(module: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        return moves.apply(module, fn)

    def to(module: nn.Module, *inputs: Any, **named: Any) -> nn.Module:
        with mode:
            return move(module, *inputs, **named)

    def embed_where_it_is(ids: Tensor, clip_model: Any, dtype: Any = None) -> Tensor:
        with mode if isinstance(clip_model.token_embedding.weight, FakeTensor) else contextlib.nullcontext():
            return embed(ids, clip_model, dtype)

    def lay_out(text: prompts.PromptText, words: Tensor) -> None:
        with mode if isinstance(words, FakeTensor) else contextlib.nullcontext():
            laid_out(text, words)

    with contextlib.ExitStack() as stack:
        patch = lambda *inputs: stack.enter_context(mock.patch.object(*inputs))  # noqa: E731
        patch(torch.accelerator, "is_available", lambda: False)
        patch(torch.cuda, "is_available", lambda: True)
        patch(torch.cuda, "device_count", lambda: 1)
        patch(torch.cuda, "get_device_capability", lambda *_: (8, 0))
        patch(torch.cuda, "mem_get_info", lambda *_: (FREE, FREE))
        patch(torch.cuda, "memory_reserved", lambda *_: 0)
        patch(torch.cuda, "memory_allocated", lambda *_: 0)
        patch(nn.Module, "to", to)
        patch(nn.Module, "_apply", apply)
        patch(prompts, "embed_ids", embed_where_it_is)
        patch(prompts.PromptText, "_lay_out", lay_out)
        patch(prompts.PromptText, "__init__", with_values(prompts.PromptText.__init__))
        patch(facts, "fingerprint", lambda *_: "of no values")
        patch(Method, "on", with_values(Method.on))
        stack.enter_context(choices.of_a_card())
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        stack.enter_context(mode)
        stack.enter_context(answering())
        yield mode
