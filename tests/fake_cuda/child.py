"""A process in which PyTorch has a CUDA device that does nothing; what is called in it gives plain values back."""

import ctypes
import importlib
import json
import os
import subprocess
import sys
from typing import Any

from modprompt.errors import UserError
from tests.fake_cuda.building import ROOT, compiled

REFUSED = 2  # exit code of a child whose function has raised a UserError
LIMIT_S = 3600


def run(target: str, *inputs: Any) -> Any:
    """The value of a function in a process of its own.

    Args:
        target: `package.module:function`; in the module `device.fake_cuda` works.
        inputs: plain values, of JSON.

    Raises:
        UserError: where fake CUDA tensors cannot be had, or if the function raises one.
        RuntimeError: if it fails otherwise; with the end of what it wrote.
    """
    own = {"LD_PRELOAD": str(compiled()), "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fake_cuda.child", target, json.dumps(inputs)],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode == REFUSED:
        raise UserError(done.stderr.splitlines()[-1])
    if done.returncode:
        raise RuntimeError(f"{target}{inputs} failed:\n{done.stderr[-20000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Call the function that the arguments name, and print its value as JSON."""
    ctypes.CDLL(os.environ["LD_PRELOAD"]).set_guard()  # before PyTorch is imported, which then sees a device
    target, inputs = sys.argv[1:]
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        print(json.dumps(function(*json.loads(inputs))))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
