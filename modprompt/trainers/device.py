"""What a run asks of its device before anything is computed, and that a process gets back what it had.

`set_up` and `without_tf32` are for the process: train.py and the launcher put `kept` around them. In a codebase that
starts our trainer itself they stay, as its own choice of cuDNN's algorithms does.
"""

import contextlib
import os
from typing import Any, Dict, Iterator, Mapping, Tuple

import torch

from modprompt.errors import UserError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED = (":4096:8", ":16:8")  # with which cuBLAS repeats its sums, if it had them when it started
_KINDS = ("flash", "mem_efficient", "cudnn", "math")  # of attention
_fixed_here = False  # whether CUDA was started, in this process, with such a workspace, which may be gone


def on_card(cfg: Any) -> bool:
    """Whether a run computes on CUDA."""
    return torch.cuda.is_available() and bool(cfg.USE_CUDA)


def set_up(cfg: Any, searches: bool = False) -> None:
    """Do what MODEL.DETERMINISTIC asks for; call it before CUDA starts.

    Args:
        cfg: the run's configuration.
        searches: whether cuDNN may look for its fastest algorithms on a card; without it that stays as it is.

    Raises:
        UserError: if CUDA has started in a way that cannot be deterministic any more.
    """
    if not cfg.MODEL.get("DETERMINISTIC", False):
        if searches and on_card(cfg):
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


def without_tf32() -> None:
    """Multiply and convolve in float32 as it is: PREC fp32 on a card."""
    _set_tf32({"matmul": False, "cudnn": False}, {name: "ieee" for name in _parts()})


_TF32: Dict[str, Any] = {"matmul": torch.backends.cuda.matmul, "cudnn": torch.backends.cudnn}


def _parts() -> Dict[str, Any]:
    """What has a float32 precision of its own, of PyTorch 2.9 and newer, under which `allow_tf32` is the older name."""
    if not hasattr(torch.backends, "fp32_precision"):
        return {}
    convolutions = {name: getattr(torch.backends.cudnn, name) for name in ("conv", "rnn")}
    return {"matmul": torch.backends.cuda.matmul, **convolutions}


def _tf32() -> Dict[str, bool]:
    """By the older name, as far as it can be asked: not where both names were used against each other."""
    found = {}
    for name, place in _TF32.items():
        with contextlib.suppress(RuntimeError):
            found[name] = place.allow_tf32
    return found


def _set_tf32(allowed: Mapping[str, bool], precision: Mapping[str, str], word: str = "") -> None:
    """Under both names, the older first, which sets the newer too: PyTorch refuses to be asked where they differ."""
    for name, on in allowed.items():
        _TF32[name].allow_tf32 = on
    if word == "medium":  # which allow_tf32 does not tell from "high"
        torch.set_float32_matmul_precision(word)
    parts = _parts()
    for name, wanted in precision.items():
        parts[name].fp32_precision = "none"  # as a wider setting has it
        if parts[name].fp32_precision != wanted:
            parts[name].fp32_precision = wanted


def _word() -> str:
    """What torch.get_float32_matmul_precision says; empty where it is not there or cannot tell."""
    try:
        return torch.get_float32_matmul_precision()
    except (AttributeError, RuntimeError):
        return ""


def _attention() -> Dict[str, bool]:
    """Which kinds of attention PyTorch may take, of those that it lets one choose."""
    cuda = torch.backends.cuda
    return {kind: getattr(cuda, f"{kind}_sdp_enabled")() for kind in _KINDS if hasattr(cuda, f"enable_{kind}_sdp")}


def _set_attention(kinds: Mapping[str, bool]) -> None:
    for kind, on in kinds.items():
        getattr(torch.backends.cuda, f"enable_{kind}_sdp")(on)


def _determinism() -> Tuple[bool, Dict[str, bool]]:
    """As torch.use_deterministic_algorithms takes it: PyTorch before 1.11 has no warn_only."""
    warns = getattr(torch, "is_deterministic_algorithms_warn_only_enabled", None)
    return torch.are_deterministic_algorithms_enabled(), {"warn_only": warns()} if warns else {}


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Give back, however the block ends, what set_up and without_tf32 change."""
    global _fixed_here
    cudnn = torch.backends.cudnn
    attention, (on, how), cudnn_was = _attention(), _determinism(), (cudnn.benchmark, cudnn.deterministic)
    allowed, precision, word = _tf32(), {name: one.fp32_precision for name, one in _parts().items()}, _word()
    workspace, had_started = os.environ.get(WORKSPACE), torch.cuda.is_initialized()
    try:
        yield
    finally:
        _set_attention(attention)
        torch.use_deterministic_algorithms(on, **how)
        cudnn.benchmark, cudnn.deterministic = cudnn_was
        _set_tf32(allowed, precision, word)
        if torch.cuda.is_initialized() and not had_started:
            _fixed_here = os.environ.get(WORKSPACE) in _FIXED
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = workspace
