"""What a training run saw: the trainer, its first parameters, and every batch with its loss."""

from __future__ import annotations

import torch

from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.clip.tokens import readable
from modprompt.trainers import building
from modprompt.trainers.prompt_trainer import PromptTrainer

LOSSES = ("loss", "loss_train", "xe_loss")  # what logs call it


def own_name(name):
    """A parameter's name without what stands in front of those of a learner."""
    return name.removeprefix("prompt_learner.")


class Recorder:
    """Records the trainings that begin while a monkeypatch lasts.

    trainer: the first one; batches: its (images, labels, loss); start: its learner's first parameters, by their names.
    draws: the generator's state before its CLIP was loaded; masks, rates: that state and the learning rate at each step.
    """

    def __init__(self, monkeypatch):
        self.batches, self.masks, self.rates = [], [], []
        self.trainer = self.draws = self.start = None
        load_clip, step = building.load_clip, PromptTrainer.forward_backward

        def loading(trainer, *args):
            if self.trainer is None:
                self.trainer, self.draws = trainer, torch.get_rng_state()
            return load_clip(trainer, *args)

        def stepping(trainer, batch):
            if self.start is None:
                (view,) = trainer._models.values()
                self.start = {own_name(key): value.detach().clone() for key, value in view.state_dict().items()}
            self.masks.append(torch.get_rng_state())
            self.rates.append(trainer.optim.param_groups[0]["lr"])
            summary = step(trainer, batch)
            loss = next(summary[key] for key in LOSSES if key in summary)
            self.batches.append((batch["img"].clone(), batch["label"].clone(), loss))
            return summary

        monkeypatch.setattr(building, "load_clip", loading)
        monkeypatch.setattr(PromptTrainer, "forward_backward", stepping)

    def facts(self):
        """(clip_model, tokens (C, 77), class-name lengths in tokens, class names) of the run."""
        from clip import clip

        names = [readable(name) for name in self.trainer.dm.dataset.classnames]
        texts = self.trainer.model.prompt_learner.prompt_text.texts
        tokens = torch.cat([clip.tokenize(text) for text in texts]).long()
        return self.trainer.clip_model, tokens, [len(ClipTokenizer().words(name)) for name in names], names
