"""Named models with what trains them: checkpoints, modes, steps, and an outer loop of epochs."""

import os
from collections import OrderedDict

import torch

from dassl.utils import load_checkpoint, resume_from_checkpoint, save_checkpoint, tolist_if_not


class TrainerBase:
    """Named models with what trains them, and an outer loop of epochs."""

    start_epoch = 0

    def __init__(self):
        self._models = OrderedDict()
        self._optims = OrderedDict()
        self._scheds = OrderedDict()

    def register_model(self, name="model", model=None, optim=None, sched=None):
        """Register a model; its name is the name of its checkpoint folder."""
        assert name not in self._models, f"the model name {name!r} is taken"
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names=None):
        """All names, or the given ones after a check."""
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        assert all(name in self._models for name in names)
        return names

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """Save every model after epoch number `epoch` (from 0) in a folder of its name."""
        for name, model in self._models.items():
            optim, sched = self._optims[name], self._scheds[name]
            state = {
                "state_dict": model.state_dict(),
                "epoch": epoch + 1,
                "optimizer": None if optim is None else optim.state_dict(),
                "scheduler": None if sched is None else sched.state_dict(),
                "val_result": None if val_result is None else float(val_result),
            }
            save_checkpoint(state, os.path.join(directory, name), is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory):
        """Go on from the newest checkpoint that each model's file `checkpoint` in a folder names.

        Returns:
            Number of finished epochs; 0 if there is nothing to go on from.
        """
        if not all(os.path.isfile(os.path.join(directory, name, "checkpoint")) for name in self._models):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        start_epoch = 0
        for name, model in self._models.items():
            folder = os.path.join(directory, name)
            start_epoch = resume_from_checkpoint(folder, model, self._optims[name], self._scheds[name])
        return start_epoch

    def load_model(self, directory, epoch=None):
        """Load every model from `directory/<name>/model.pth.tar-<epoch>`, or model-best.pth.tar without an epoch."""
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        file_name = "model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}"
        for name, model in self._models.items():
            path = os.path.join(directory, name, file_name)
            checkpoint = load_checkpoint(path)
            model.load_state_dict(checkpoint["state_dict"])
            print(f"Loaded {path} (epoch {checkpoint['epoch']})")

    def set_model_mode(self, mode="train", names=None):
        """Put models into "train" or "eval" ("test") mode."""
        assert mode in ("train", "eval", "test"), mode
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names=None):
        """Step the learning-rate schedules."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def detect_anomaly(self, loss):
        """Raise FloatingPointError if a loss is not finite."""
        if not torch.isfinite(loss).all():
            raise FloatingPointError("Loss is infinite or NaN!")

    def train(self, start_epoch, max_epoch):
        """Run epochs start_epoch to max_epoch - 1 between the hooks."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self):
        """Hook."""

    def after_train(self):
        """Hook."""

    def before_epoch(self):
        """Hook."""

    def after_epoch(self):
        """Hook."""

    def run_epoch(self):
        """One epoch."""
        raise NotImplementedError

    def test(self):
        """Evaluate."""
        raise NotImplementedError

    def parse_batch_train(self, batch):
        """What forward_backward needs of a batch."""
        raise NotImplementedError

    def parse_batch_test(self, batch):
        """(input, label) of a batch."""
        raise NotImplementedError

    def forward_backward(self, batch):
        """One training step; returns numbers for the log."""
        raise NotImplementedError

    def model_inference(self, input):
        """Logits of a test batch."""
        raise NotImplementedError

    def model_zero_grad(self, names=None):
        """Clear gradients."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss):
        """Gradients of a finite loss."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names=None):
        """Step the optimisers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss, names=None):
        """Clear, gradients, step."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)
