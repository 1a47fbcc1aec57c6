"""How many of the classes' own tokens a run computes at a time: decided once, since it changes how sums are rounded.

Without MODEL.TEXT_CHUNK free memory decides, which differs from start to start. So the number goes into the training
state and into result.json (None: all at once), and a run that resumes uses it again.
"""

from collections.abc import Mapping
from typing import Any

from modprompt.compat.run_settings import RunSettings
from modprompt.engine.model import PromptedCLIP
from modprompt.io.schema import maybe, whole

KEY = "text_chunk"
FORM = maybe(whole(1))  # of its value


def decide(model: PromptedCLIP, config: RunSettings) -> None:
    """Decide by MODEL.TEXT_CHUNK, in classes; if 0, by free memory."""
    model.limit_text(config.model.text_chunk)


def in_use(model: PromptedCLIP, config: RunSettings) -> int | None:
    """How many of the classes' own tokens a run computes at a time; None if all of them."""
    images = 1
    if getattr(model.prompt_learner, "needs_image", False):  # then each image of a batch has prompts of its own
        images = max(config.train_x.batch_size, config.test_loader.batch_size)
    most, tokens = model.text_encoder.most_tokens, model.own_tokens * images
    return None if most is None or most >= tokens else most


def _say(tokens: int | None) -> str:
    return "all at once" if tokens is None else f"{tokens} tokens at a time"


def take_back(model: PromptedCLIP, config: RunSettings, state: Mapping[str, Any]) -> None:
    """Go on as a run began, unless MODEL.TEXT_CHUNK is given; a message says what changed or may not fit.

    Args:
        model: for which `decide` was called.
        config: the run's settings.
        state: what the trainer has remembered; under KEY, if there, a value of FORM.
    """
    now = in_use(model, config)
    if KEY not in state:
        print(f"The training state does not say how the text side was computed: {_say(now)} from here")
        return
    kept = state[KEY]
    if kept == now:
        return
    if config.model.text_chunk:
        print(f"MODEL.TEXT_CHUNK: the text side is computed {_say(now)}, not {_say(kept)} as before: sums round anew")
        return
    model.text_encoder.most_tokens = kept
    fits = now is None or (kept is not None and kept <= now)
    room = "" if fits else f", though memory for {now} is free: give MODEL.TEXT_CHUNK, in classes, if it runs out"
    print(f"The text side is computed {_say(kept)}, as this run began{room}")
