"""The training loop: epochs, checkpoints, resuming, testing."""

import datetime
import os
import time
from collections import OrderedDict

import numpy as np
import torch
from tqdm import tqdm

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.utils import (
    AverageMeter,
    MetricMeter,
    load_checkpoint,
    resume_from_checkpoint,
    save_checkpoint,
    tolist_if_not,
)


class TrainerBase:
    """Named models with what trains them, and an outer loop of epochs."""

    def __init__(self):
        self._models = OrderedDict()
        self._optims = OrderedDict()
        self._scheds = OrderedDict()

    def register_model(self, name="model", model=None, optim=None, sched=None):
        """Enter a model; its name is the name of its checkpoint folder."""
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

    def init_writer(self, log_dir):
        """For trainers that call it; nothing is written."""

    def close_writer(self):
        """For trainers that call it."""

    def write_scalar(self, tag, scalar_value, global_step=None):
        """For trainers that call it; the log holds all numbers."""

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


class SimpleTrainer(TrainerBase):
    """Loaders, evaluation, saving and resuming around a model that a subclass builds."""

    def __init__(self, cfg):
        super().__init__()
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
        """Hook: complain about settings."""

    def build_data_loader(self):
        """The loaders and the facts of the data set, as attributes."""
        dm = DataManager(self.cfg)
        self.dm = dm
        self.train_loader_x = dm.train_loader_x
        self.train_loader_u = dm.train_loader_u
        self.val_loader = dm.val_loader
        self.test_loader = dm.test_loader
        self.num_classes = dm.num_classes
        self.num_source_domains = dm.num_source_domains
        self.lab2cname = dm.lab2cname

    def build_model(self):
        """Build and register the models."""
        raise NotImplementedError

    def train(self):
        """Train, resuming if there is something to resume, then test."""
        super().train(self.start_epoch, self.max_epoch)

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
        for batch in tqdm(loader):
            images, labels = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(images), labels)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input):
        """Logits of a test batch."""
        return self.model(input)

    def parse_batch_test(self, batch):
        """(images, labels) on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def get_current_lr(self, names=None):
        """Learning rate of the first parameter group of the first model."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]


class TrainerX(SimpleTrainer):
    """Trains on labelled data."""

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
