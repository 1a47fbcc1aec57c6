"""What heads on features are to all other rooms."""

from typing import Any, Dict

from modprompt.feature import Feature
from modprompt.methods.table import HEADS


class HeadsFeature(Feature):
    """Methods that put a head on frozen features, in trainers of parts of their own."""

    name = "heads"
    kind = HEADS

    def parts(self) -> Any:
        """The bank, the head, its epochs, its choice, a test."""
        from modprompt.methods.heads.run import HEAD_PARTS

        return HEAD_PARTS

    def result_forms(self) -> Dict[str, Any]:
        """What was chosen on a grid."""
        from modprompt.io.result_schema import amount, count, line, record

        return {"searched": record(beta=amount, alpha=amount, correct=count, images=count, on=line)}


FEATURE = HeadsFeature()
