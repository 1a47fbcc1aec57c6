"""What runs and checkpoints say of a head, and of the prompts it is put on, by a hash. No PyTorch is needed."""

from modprompt.io.compare import file_hash
from modprompt.io.safe_open import PathLike

PROMPTS_BEFORE = "the prompts before the head"  # which, by a hash
ENHANCED_BASE = "the enhanced base"  # the same, of class features
FRONT = "behind"  # the method of these prompts


def prompts_hash(file: PathLike) -> str:
    """Twelve hex digits that tell the checkpoint of one training from that of another.

    Raises:
        OSError: if it cannot be read.
    """
    return file_hash(file)[:12]
