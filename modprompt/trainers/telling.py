"""What a run's log says of its learner before the first step."""

import random

from modprompt.methods.parts.learners import Learner
from modprompt.methods.parts.text import MODES


def tell_of(learner: Learner, draws_examples: bool = False) -> None:
    """Print what it starts from, what describes the classes, the schedules, how much is trained.

    With `draws_examples` also the prompts of ten classes at most, drawn by Python's generator: MPL's reference draws
    them here, and what a training draws later (noise, translations) depends on it.
    """
    print(learner.beginning)
    if draws_examples:
        texts = learner.prompt_text.texts
        print(f"Example prompts: {random.sample(texts, min(10, len(texts)))}")
    described, pooling = learner.described, learner.pooling
    if described is not None and pooling is not None:
        prompts, classes = len(learner.prompt_text.texts), len(pooling.shares)
        what = f"{MODES[described.pooled]}: the mean of their {described.pooled}"
        print(f"Descriptions: {prompts} phrases of {classes} classes from {described.content.source}; {what}")
    for side, schedule in learner.schedules._asdict().items():
        if schedule.depth and side not in learner.options:  # a side with options tells its own schedule
            print(schedule.table())
    trained = [one for one in learner.parameters() if one.requires_grad]
    print(f"Parameters to be updated: {sum(one.numel() for one in trained):,} in {len(trained)} tensors")
