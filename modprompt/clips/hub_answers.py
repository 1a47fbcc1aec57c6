"""What a Hugging Face hub answers, through the package huggingface_hub, and its failures in a line each."""

import importlib
import os
import re
from typing import Any, Callable

from modprompt.errors import UserError

# answers of the hub, by names of classes: their module has changed over the years; the first that fits counts
_REFUSALS = (
    ("GatedRepoError", "is given only to those whom its owner allows: ask for access on its page, then set HF_TOKEN"),
    ("RepositoryNotFoundError", "does not exist on the hub, or is private: correct the name, or set HF_TOKEN"),
    ("RevisionNotFoundError", "does not exist on the hub: the repository has no such revision, correct it"),
)
_TOKENS, _TOKEN = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), re.compile(r"hf_\w{4,}|(?<=Bearer )[^'\"\s]+")


class Unreached(Exception):
    """The hub gives nothing: why, what to do, and whether the user is told even if the cache has it."""

    def __init__(self, reason: str, advice: str, told: bool = True):
        super().__init__(reason)
        self.advice = advice
        self.told = told


def package() -> Any:
    """The package huggingface_hub, if the network may be used."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise Unreached("HF_HUB_OFFLINE forbids the network", "unset it", told=False)
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        missing = error.name == "huggingface_hub"
        reason = "is not installed" if missing else f"cannot be imported ({_reason(error)})"
        raise Unreached(f"huggingface_hub {reason}", "pip install 'modprompt[hub]'", told=not missing) from None


def ask(repo: str, call: Callable[[Any], Any]) -> Any:
    """What the hub answers, where the cache is of no use.

    Args:
        repo: what is asked about, for messages.
        call: takes the package huggingface_hub.

    Raises:
        UserError: if the hub says that there is no such thing, or cannot be asked.
    """
    try:
        found = package()
        return answer(repo, lambda: call(found), "")
    except Unreached as error:
        raise UserError(f"{repo}: {error}; {error.advice}") from None


def answer(
    name: str, call: Callable[[], Any], cached: str = "; if the cache has it, HF_HUB_OFFLINE=1 uses that"
) -> Any:
    """What the hub answers; UserError if it says that there is no such thing, Unreached if it fails otherwise."""
    try:
        return call()
    except Exception as error:  # requests, httpx, Xet and the package itself raise many kinds
        kinds = {one.__name__ for one in type(error).__mro__}
        for kind, text in _REFUSALS:
            if kind in kinds:
                raise UserError(f"{name} {text}{cached}") from None
        cause = error.__cause__ if "LocalEntryNotFoundError" in kinds else None  # it says nothing by itself
        advice = "look after the network, HF_ENDPOINT, and HF_TOKEN if it is not for all"
        raise Unreached(f"the hub cannot be asked ({_reason(cause or error)})", advice) from None


def _reason(error: BaseException) -> str:
    """An error in a line; tokens, which stand in what clients say of headers that cannot be sent, are left out."""
    text = " ".join(str(error).split())
    for token in filter(None, (os.environ.get(name, "").strip() for name in _TOKENS)):
        text = text.replace(token, "***")
    return f"{type(error).__name__}: {_TOKEN.sub('***', text)[:200]}"
