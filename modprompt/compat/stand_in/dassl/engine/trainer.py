"""Trainers of a model that a subclass builds: loaders, the training loop, testing, saving, resuming."""

import datetime
import os
import time

import numpy as np
import torch
from tqdm import tqdm

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.utils import (
    AverageMeter,
    MetricMeter,
    Registry,
    check_availability,
    load_checkpoint,
    resume_from_checkpoint,
    save_checkpoint,
)

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg):
    """The trainer that cfg.TRAINER.NAME names."""
    check_availability(cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names(), "TRAINER.NAME")
    if cfg.VERBOSE:
        print(f"Loading trainer: {cfg.TRAINER.NAME}")
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME)(cfg)


class TrainerX:
    """Trains named models on labelled data, and tests, saves and resumes them.

    A subclass has build_model, which registers them, and forward_backward, a step on a batch that gives numbers for
    the log. Names are those of checkpoint folders.
    """

    def __init__(self, cfg):
        self._models, self._optims, self._scheds = {}, {}, {}
        self.check_cfg(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.best_result = -np.inf
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg):
        """Hook: refuse settings."""

    def before_epoch(self):
        """Hook."""

    def build_data_loader(self):
        """The loaders and the facts of the data set, as attributes."""
        self.dm = dm = DataManager(self.cfg)
        self.train_loader_x, self.train_loader_u = dm.train_loader_x, dm.train_loader_u
        self.val_loader, self.test_loader = dm.val_loader, dm.test_loader
        self.num_classes, self.lab2cname = dm.num_classes, dm.lab2cname

    def register_model(self, name="model", model=None, optim=None, sched=None):
        """Register a model with what trains it."""
        assert name not in self._models, f"the model name {name!r} is taken"
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names=None):
        """All names, or the given ones after a check."""
        names = list(self._models) if names is None else [names] if isinstance(names, str) else list(names)
        assert all(name in self._models for name in names)
        return names

    def set_model_mode(self, mode="train", names=None):
        """Put models into "train" or "eval" ("test") mode."""
        assert mode in ("train", "eval", "test"), mode
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

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

    def resume_model_if_exist(self, directory):
        """Go on from the newest checkpoint that each model's file `checkpoint` in a folder names.

        Returns:
            Number of finished epochs; 0 if there is nothing to go on from.
        """
        folders = {name: os.path.join(directory, name) for name in self._models}
        if not all(os.path.isfile(os.path.join(folder, "checkpoint")) for folder in folders.values()):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        start_epoch = 0
        for name, folder in folders.items():
            start_epoch = resume_from_checkpoint(folder, self._models[name], self._optims[name], self._scheds[name])
        return start_epoch

    def train(self):
        """Train, resuming if possible, then test."""
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self):
        """Go on from the checkpoints in RESUME or OUTPUT_DIR, and start the clock."""
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.output_dir)
        self.time_start = time.time()

    def after_train(self):
        """Test the last model, or the best on the validation set."""
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")

    def after_epoch(self):
        """Validate if asked for, and save if it is time to."""
        finished = self.epoch + 1
        if not self.cfg.TEST.NO_TEST and self.cfg.TEST.FINAL_MODEL == "best_val":
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name="model-best.pth.tar")
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if finished == self.max_epoch or (frequency > 0 and finished % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    def run_epoch(self):
        """One pass over the training loader."""
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        self.num_batches = len(self.train_loader_x)
        end = time.time()
        for batch_idx, batch in enumerate(self.train_loader_x):
            self.batch_idx = batch_idx
            data_time.update(time.time() - end)
            losses.update(self.forward_backward(batch))
            batch_time.update(time.time() - end)
            frequency = self.cfg.TRAIN.PRINT_FREQ
            if (self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency:
                self._log(losses, batch_time, data_time)
            end = time.time()

    def _log(self, losses, batch_time, data_time):
        left = self.num_batches - self.batch_idx - 1 + (self.max_epoch - self.epoch - 1) * self.num_batches
        eta = datetime.timedelta(seconds=int(batch_time.avg * left))
        print(
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) data {data_time.val:.3f} ({data_time.avg:.3f}) "
            f"{losses} lr {self.get_current_lr():.4e} eta {eta}"
        )

    def parse_batch_train(self, batch):
        """(images, labels, domains) on the device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))

    def model_backward_and_update(self, loss, names=None):
        """Gradients of a finite loss, and a step of the optimisers; else FloatingPointError."""
        optims = [self._optims[name] for name in self.get_model_names(names) if self._optims[name] is not None]
        for optim in optims:
            optim.zero_grad()
        if not torch.isfinite(loss).all():
            raise FloatingPointError("Loss is infinite or NaN!")
        loss.backward()
        for optim in optims:
            optim.step()

    def update_lr(self, names=None):
        """Step the learning-rate schedules."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names=None):
        """Learning rate of the first parameter group of the first model."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]

    @torch.no_grad()
    def test(self, split=None):
        """Evaluate on the validation or test set; returns the first result."""
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split == "val" and self.val_loader is not None:
            loader = self.val_loader
        else:
            split, loader = "test", self.test_loader
        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(loader, disable=None):
            images, labels = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(images), labels)
        return next(iter(self.evaluator.evaluate().values()))

    def model_inference(self, input):
        """Logits of a test batch."""
        return self.model(input)

    def parse_batch_test(self, batch):
        """(images, labels) on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)
