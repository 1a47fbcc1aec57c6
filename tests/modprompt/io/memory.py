"""How much memory a reader takes."""

import subprocess
import sys

from tests.conftest import ROOT

_CHILD = """
import sys
from modprompt.io import tensors
from modprompt.io.safetensors_files import read_safetensors

def status(word):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(word))

before = status("VmRSS")
found = {call}
size = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
print((status("VmHWM") - before) / size)
"""


def peak(call):
    """What a call of a reader takes at most in a process of its own, mapped pages counted, in sizes of its tensors."""
    words = [sys.executable, "-c", _CHILD.format(call=call)]
    ended = subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return float(ended.stdout)
