"""Settings of a run's device before anything is computed, and restoring those of the process afterwards.

`set_up` changes the process: train.py and the launcher wrap it in `kept`. In a codebase that starts our trainer itself
the changes stay, as that codebase's own choice of cuDNN's algorithms does.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from modprompt.engine.precision import set_products
from modprompt.errors import UserError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED = (":4096:8", ":16:8")  # with these, set before it starts, cuBLAS repeats its sums
_KINDS = ("flash", "mem_efficient", "cudnn", "math")  # of attention
_fixed_here = False  # whether CUDA was started in this process with such a workspace, even if the variable is gone


def on_card(cfg: Any) -> bool:
    """Whether a run computes on CUDA."""
    return torch.cuda.is_available() and bool(cfg.USE_CUDA)


def set_up(cfg: Any, may_tune: bool = False) -> None:
    """Set exact float32 products, attention's kernels and MODEL.DETERMINISTIC; call this before CUDA starts.

    Args:
        cfg: the run's configuration.
        may_tune: whether cuDNN may search its fastest algorithms on a GPU; if False that setting stays.

    Raises:
        UserError: if CUDA has already started in a way that cannot be deterministic.
    """
    set_products()
    if not cfg.MODEL.DETERMINISTIC:
        if may_tune and on_card(cfg):
            torch.backends.cudnn.benchmark = True
        return
    if on_card(cfg):
        _fix_workspace()
        # products and a softmax repeat on every PyTorch; fused backward passes on some, and cuDNN's on none
        _set_attention({kind: kind == "math" for kind in _attention()})
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def _fix_workspace() -> None:
    given = os.environ.get(WORKSPACE)
    if given in _FIXED:
        return
    if torch.cuda.is_initialized() and not _fixed_here:
        raise UserError(
            f"MODEL.DETERMINISTIC True: CUDA has started in this process with {WORKSPACE} {given or 'unset'}: "
            f"set {WORKSPACE}={_FIXED[0]} in the environment before"
        )
    if given:
        print(f"MODEL.DETERMINISTIC True: {WORKSPACE} {given} -> {_FIXED[0]} for this run")
    os.environ[WORKSPACE] = _FIXED[0]


def _attention() -> dict[str, bool]:
    """Which kinds of attention PyTorch may use."""
    cuda = torch.backends.cuda
    return {kind: getattr(cuda, f"{kind}_sdp_enabled")() for kind in _KINDS}


def _set_attention(kinds: Mapping[str, bool]) -> None:
    for kind, on in kinds.items():
        getattr(torch.backends.cuda, f"enable_{kind}_sdp")(on)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Restore what set_up changes, however the block ends."""
    global _fixed_here
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32, cudnn.allow_tf32
    attention, cudnn_was = _attention(), (cudnn.benchmark, cudnn.deterministic)
    on, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace, had_started = os.environ.get(WORKSPACE), torch.cuda.is_initialized()
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = tf32
        _set_attention(attention)
        torch.use_deterministic_algorithms(on, warn_only=warns)
        cudnn.benchmark, cudnn.deterministic = cudnn_was
        if torch.cuda.is_initialized() and not had_started:
            _fixed_here = os.environ.get(WORKSPACE) in _FIXED
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = workspace
