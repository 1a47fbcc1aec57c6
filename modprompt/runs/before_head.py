"""The trained prompts that a run's head stands behind: known by a hash of their checkpoint, and whether they still are.

Nothing heavy is imported until a run has such a head.
"""

from typing import Any, List, Mapping

from modprompt.errors import UserError
from modprompt.runs.same import PROMPTS_BEFORE, file_hash
from modprompt.storage.opening import PathLike


def prompts_hash(file: PathLike) -> str:
    """Twelve hex digits that tell the checkpoint of one training from that of another.

    Raises:
        OSError: if it cannot be read.
    """
    return file_hash(file)[:12]


def differing_prompts(recorded: object, settings: Mapping[str, Any]) -> List[str]:
    """Whether the prompts that a run's head is told to stand behind are others than those that it has recorded.

    Args:
        recorded: what its result says of its method.
        settings: the run's, by dotted key.
    """
    stated = recorded.get(PROMPTS_BEFORE) if isinstance(recorded, dict) else None
    if not stated:
        return []
    from modprompt.runs.checkpoint import checkpoint_at  # imports PyTorch

    found = []
    for path in (str(value) for key, value in settings.items() if key.endswith(".BEHIND") and value):
        try:
            found += [] if prompts_hash(checkpoint_at(path)) == stated else [f"the prompts in {path} are others now"]
        except OSError as error:
            found.append(f"{path} cannot be read ({error.strerror})")
        except UserError as error:
            found.append(str(error))
    return found
