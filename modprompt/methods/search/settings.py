"""Settings of a search: how alphas, which weight a layer's options, are learned, and what counts at the end."""

from dataclasses import dataclass

from modprompt.fields import Configured, setting

ALL_BATCHES, FIRST_BATCH = "all", "first"
MOST = 64  # prompt tokens that an option of a layer may add, or remove by number
BETAS = (0.5, 0.999)  # of Adam on the alphas (DPL, arXiv 2501.00457)


@dataclass(frozen=True, repr=False)
class AlphaSettings(Configured):
    """The settings of every search, besides its options."""

    alpha_lr: float = setting(
        0.0035, "learning rate of Adam on the alphas, from the first step to the last", least=0, compared=False
    )
    alpha_data: str = setting(
        "all",
        "validation batches that alphas see: all in turn, or only the first, as in the reference",
        choices=(ALL_BATCHES, FIRST_BATCH),
        compared=False,
    )
    alpha_batch: int = setting(16, "validation images of a step of the alphas", least=1, compared=False)
    tokens_weight: float = setting(
        0.0, "weight of the expected number of prompt tokens in the alphas' loss", least=0, compared=False
    )
    most_tokens: int = setting(
        0,
        "limit of prompt tokens for all layers of a side together in the schedule that is found; 0 for none",
        least=0,
        compared=False,
    )
