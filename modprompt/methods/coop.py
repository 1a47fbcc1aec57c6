"""Context Optimization (CoOp, arXiv 2109.01134): a learnable context in place of a hand-written prompt."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

from modprompt.checks import at_least
from modprompt.clip.tokens import readable
from modprompt.clip.towers import CLIP, tokenizer_of
from modprompt.engine.context import Context, from_words, random_context
from modprompt.engine.prompts import POSITIONS
from modprompt.engine.schedule import BEFORE_START, MOST_TOKENS, Schedules, Shape, no_prompts, shallow
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.parts.capabilities import Logging, SavedAs
from modprompt.methods.parts.groups import LearnedText, WithDescriptions, written_out
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner

PHOTO = "a photo of a"  # for KgCoOp and TCP, whatever the data set's template


def of_coop(*more: str) -> dict[str, str]:
    """CoOp's settings, and more, for a method whose repository keeps its own in CoOp's node."""
    keys = ("N_CTX", "CSC", "CTX_INIT", "CLASS_TOKEN_POSITION", "PREC", *more)
    return {**{f"{CoOp.node}.{key}": key for key in keys}, f"{CoOp.node}.ALPHA": ""}


@dataclass(frozen=True, repr=False)
class OneContext(LearnedText, WithDescriptions):
    """A context of words or random vectors on the text side, carried to the end; nothing on the vision side."""

    saved_as = SavedAs(prefix="")
    own_words: ClassVar[str] = ""  # the words that True stands for, in methods that accept it
    class_token_position = "end"  # where the class name stands

    # a checkpoint shows it, and with CTX_INIT it is not used
    n_ctx: int = setting(
        16,
        "the number of context tokens in the text encoder; with CTX_INIT, the number of its words",
        most=MOST_TOKENS,
        compared=False,
    )
    ctx_init: str = setting("", "the initial words of the context")

    def check(self) -> None:
        """Warn if n_ctx was given with a ctx_init of another number of words."""
        super().check()
        default = next(one.default for one in self.settings() if one.field == "n_ctx")
        if "n_ctx" in self.unused() and self.n_ctx != default:
            text = (
                f"{self.node}.N_CTX {self.n_ctx} is not used, because CTX_INIT sets the number of context tokens to "
                f"{self.length()}, the number of its words."
            )
            warnings.warn(text, stacklevel=4)

    def unused(self) -> dict[str, str]:
        return {**super().unused(), **({} if self.n_ctx == self.length() else {"n_ctx": "ctx_init"})}

    def words(self, dataset: str = "") -> str:
        """The words that the context starts from; empty for random vectors."""
        return self.switched(self.own_words) if self.own_words else readable(self.ctx_init)

    def switched(self, own: str) -> str:
        """The words of ctx_init; True stands for a method's own, False for none."""
        return {"true": own, "false": ""}.get(self.ctx_init.lower(), readable(self.ctx_init))

    def length(self) -> int:
        """Number of context tokens."""
        return len(self.words().split()) or self.n_ctx

    def schedules(self, shape: Shape) -> Schedules:
        at_least("N_CTX", self.length(), 1)
        text = written_out("text", self.schedule_text, shape.text_layers, self.length(), "N_CTX")
        return Schedules(text or shallow(shape.text_layers, self.length(), "text"), no_prompts(shape.vision_layers))

    def context(self, clip_model: CLIP, classes: Classes, n_cls: int | None = None) -> Context:
        """All of the words, or n_ctx random vectors (for each of n_cls classes, if given).

        Raises:
            SettingError: if there are none.
        """
        words = self.words(classes.dataset)
        if words:
            if not self.own_words:
                self._tell_of(words, clip_model)
            return from_words(words, self.length(), clip_model)
        return random_context(self.n_ctx, clip_model, n_cls)

    def _tell_of(self, words: str, clip_model: CLIP) -> None:
        """A note where the repository's code, which cuts CTX_INIT at each space, takes other tokens for the context."""
        parts = self.ctx_init.replace("_", " ").split(" ")
        moved = self.class_token_position != "end" and len(tokenizer_of(clip_model).words(words)) > self.length()
        if "" in parts or moved:
            why = (
                "the original code counts leading, trailing and double spaces as words"
                if "" in parts
                else "the original code treats the last tokens of CTX_INIT as the class name"
            )
            print(
                f"note: with {self.node}.CTX_INIT {self.ctx_init!r}, results differ from those of the original code, "
                f"because {why}."
            )


@dataclass(frozen=True, repr=False)
class CoOp(OneContext):
    """CoOp: one context for all classes, or one for each; also on ResNets."""

    node = "TRAINER.COOP"
    logging = Logging(accuracy=True)

    csc: bool = setting(False, "learns a separate context for each class (with phrases, for each prompt) if True")
    class_token_position: str = setting("end", "the position of the class name in the prompt", choices=POSITIONS)

    def check(self) -> None:
        super().check()
        if self.schedule_text and self.class_token_position != "end":
            text = " needs CLASS_TOKEN_POSITION end, because deep prompts are placed at the start of the text."
            raise SettingError([("SCHEDULE_TEXT", text)])
        if self.place_text == BEFORE_START and (self.csc or self.class_token_position != "end"):
            text = (
                f" {BEFORE_START} needs CSC False and CLASS_TOKEN_POSITION end, because at this position the context "
                "replaces no words."
            )
            raise SettingError([("PLACE_TEXT", text)])
        if "csc" in self.unused():
            text = f"{self.node}.CSC is not used, because CTX_INIT gives all classes the same initial context."
            warnings.warn(text, stacklevel=4)

    def unused(self) -> dict[str, str]:
        return {**super().unused(), **({"csc": "ctx_init"} if self.csc and self.words() else {})}

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> IndependentPromptLearner:
        prompts = classes.names if self.described is None else self.described.prompts(classes.names)[0]
        context = self.context(clip_model, classes, len(prompts) if self.csc else None)
        position = self.class_token_position
        return IndependentPromptLearner(classes.names, clip_model, schedules, context, position, self.described)
