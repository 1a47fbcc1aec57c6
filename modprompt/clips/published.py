"""OpenAI's published weights: which file has which SHA-256, by the table of the `clip` package."""

import warnings
from pathlib import Path
from typing import Dict

from modprompt.clips.package import import_clip
from modprompt.storage.text import sha256_of


def hashes() -> Dict[str, str]:
    """{file name: SHA-256 (hex)}; the address of each file names its hash."""
    addresses = (address.split("/") for address in import_clip()._MODELS.values())
    return {parts[-1]: parts[-2] for parts in addresses}


def warn_of_impostor(path: Path) -> None:
    """Warn if a file has the name of one of OpenAI's, but not its content."""
    expected = hashes().get(path.name)
    if expected is not None and path.is_file() and sha256_of(path) != expected:
        warnings.warn(
            f"{path} has the name of OpenAI's weights, but its SHA-256 is not theirs ({expected[:12]}...): "
            "it is damaged, cut off or another CLIP",
            stacklevel=2,
        )
