"""What heads on features are to all other rooms."""

from typing import Any, Dict, Sequence, Tuple

from modprompt.feature import Feature, FirstStage
from modprompt.methods.table import BY_NAME, HEADS, kind_of

PROMPTS_FROM = "PROMPTS_FROM"  # the setting of all heads that names trained prompts


class HeadsFeature(Feature):
    """Methods that put a head on frozen features, in trainers of parts of their own."""

    name = "heads"
    kind = HEADS
    stage = FirstStage(
        key="prompts_from",
        names_method=True,
        setting=PROMPTS_FROM,
        name="the training of its prompts",
        without="heads behind prompts",
        group="prompts + head",
        parameters="of a head with those of the prompts that it stands behind",
        seconds="the training of the prompts that a head stands behind",
    )

    def parts(self) -> Any:
        """The bank, the head, its epochs, its choice, a test."""
        from modprompt.methods.heads.run import HEAD_PARTS

        return HEAD_PARTS

    def fault_of_stage(self, trainer: str, keys: Sequence[str]) -> str:
        """Prompts stand before a head alone."""
        return "" if kind_of(trainer) == HEADS else f"{trainer} is no head, which alone stands behind prompts"

    def handed_on(self, folder: Any, trainer: str) -> Tuple[Tuple[str, str], ...]:
        """The prompts."""
        return ((f"{BY_NAME[trainer].node}.{PROMPTS_FROM}", str(folder)),)

    def result_forms(self) -> Dict[str, Any]:
        """What was chosen on a grid."""
        from modprompt.io.result_schema import amount, count, line, record

        return {"searched": record(beta=amount, alpha=amount, correct=count, images=count, on=line)}


FEATURE = HeadsFeature()
