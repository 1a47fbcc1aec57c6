"""Settings of methods whose classes may have phrases that describe them (AS and AE of PCB, arXiv 2311.11178)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from modprompt.engine.pooling import EMBEDDINGS, LOGITS
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.io import descriptions
from modprompt.io.same_run import DESCRIPTIONS
from modprompt.methods.base import Method
from modprompt.methods.parts.phrases import MODES, Described

M = TypeVar("M", bound="WithDescriptions")
_OF = {mode: pooled for pooled, mode in MODES.items()}


@dataclass(frozen=True, repr=False)
class WithDescriptions(Method):
    """Several prompts for each class, `NAME, which is/has PHRASE.`, with phrases from a file."""

    # the file's content is compared instead: `content_hashes`
    aspath: str = setting(
        "",
        "JSON file of phrases {class: [phrase, ...]}, or X for descriptors/descriptors_X: a logit is their mean (AS)",
        compared=False,
    )
    aepath: str = setting("", "the same: an embedding is their mean, normalised afterwards (AE)", compared=False)

    described: ClassVar[Described | None] = None  # set when the file was read

    def check(self) -> None:
        if self.aspath and self.aepath:
            raise SettingError([("ASPATH", " and AEPATH are both set: use one, the mean of logits or of embeddings")])

    def prepared(self: M) -> M:
        """This method, with its file read.

        Raises:
            SettingError: if there is no such file, or it holds something else.
        """
        for key, path, pooled in (("ASPATH", self.aspath, LOGITS), ("AEPATH", self.aepath, EMBEDDINGS)):
            if path and self.described is None:
                try:
                    return self.describing(Described(descriptions.read(path), pooled))
                except UserError as error:
                    raise SettingError([(key, f": {error}")]) from None
        return self

    def describing(self: M, described: Described) -> M:
        """This method with phrases that were read already."""
        return self.replace_private(described=described)

    def metadata(self) -> dict[str, Any]:
        """The hash of the phrases, and what they are for."""
        found = self.prepared().described
        return {**super().metadata(), **({} if found is None else {DESCRIPTIONS: str(found)})}

    def restore(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method as a checkpoint describes it, with the phrases from there; no other file is opened.

        Raises:
            UserError: if they are missing.
        """
        mode = str(stated.get(DESCRIPTIONS, "")).partition(" ")[0]
        if not (self.aspath or self.aepath or mode):
            return self
        phrases = classes.get("phrases")
        if mode not in _OF or not isinstance(phrases, dict):
            raise UserError(f"{path} is damaged (the phrases that describe its classes)")
        return self.describing(Described(descriptions.of_record(phrases, path), _OF[mode]))
