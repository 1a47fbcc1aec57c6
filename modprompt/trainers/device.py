"""Settings of PyTorch for the device of a run, which are set once per process before anything is computed."""

import os

import torch

from modprompt.engine.precision import set_products
from modprompt.errors import UserError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED = (":4096:8", ":16:8")  # with these, set before it starts, cuBLAS repeats its sums


def on_card(cuda: bool) -> bool:
    """Return True if CUDA is available and USE_CUDA is True."""
    return torch.cuda.is_available() and bool(cuda)


def set_up(deterministic: bool, cuda: bool, ours: bool = False) -> None:
    """Set exact float32 products, the kernels of attention, and MODEL.DETERMINISTIC; call this before CUDA starts.

    Args:
        deterministic: MODEL.DETERMINISTIC.
        cuda: USE_CUDA.
        ours: whether the program belongs to modprompt. If so, settings are also made for runs that are not
            deterministic, and cuDNN may search for its fastest algorithms.

    Raises:
        UserError: if CUDA has already started with settings that are not deterministic.
    """
    set_products()
    fixed, card = bool(deterministic), on_card(cuda)
    if fixed and card:
        _fix_workspace()
    if fixed or ours:
        torch.use_deterministic_algorithms(fixed)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = fixed, card and not fixed
        # products and a softmax repeat on every PyTorch; fused backward passes on some, and cuDNN's on none
        torch.backends.cuda.enable_flash_sdp(not (fixed and card))
        torch.backends.cuda.enable_mem_efficient_sdp(not (fixed and card))


def _fix_workspace() -> None:
    given = os.environ.get(WORKSPACE)
    if given in _FIXED:
        return
    if torch.cuda.is_initialized():
        raise UserError(
            "MODEL.DETERMINISTIC True is not possible because CUDA has already started in this process with "
            f"{WORKSPACE} {given or 'unset'}. Set {WORKSPACE}={_FIXED[0]} in the environment before the process starts."
        )
    if given:
        print(f"MODEL.DETERMINISTIC True changes {WORKSPACE} from {given} to {_FIXED[0]} for this run.")
    os.environ[WORKSPACE] = _FIXED[0]
