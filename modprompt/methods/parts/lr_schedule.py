"""Learning-rate schedules by epoch (single_step, multi_step, cosine, each with an optional warm-up), and by step.

The numbers are those of Dassl's schedules. The real Dassl's pass PyTorch an argument that it no longer accepts (2.7),
and their state holds a live object, which no checkpoint may hold; so every Dassl gets these.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR, StepLR

from modprompt.checks import check_name
from modprompt.errors import UserError

Rate = float | Tensor  # a tensor if the optimiser keeps its learning rate so
Warmup = Callable[[int, Rate], Rate]  # the learning rate of a warm-up epoch, from a group's base rate


class WarmupScheduler:
    """A warm-up before another schedule, which starts at its own epoch 0 when the warm-up is over.

    Its state is plain numbers, so that a checkpoint of it needs no trust.

    Args:
        optimizer: the optimiser.
        successor: the schedule that follows.
        warmup_epoch: epochs of warm-up.
        rate: learning rate in warm-up epoch k for a group with base learning rate r, as rate(k, r).
    """

    def __init__(self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, rate: Warmup):
        self.optimizer = optimizer
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        self.last_epoch = 0
        self._rate = rate
        self._apply()

    def _apply(self) -> None:
        if self.last_epoch >= self.warmup_epoch:
            rates = self.successor.get_last_lr()
        else:
            rates = [self._rate(self.last_epoch, base) for base in self.successor.base_lrs]
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate
        self._last_lr = rates

    def step(self, epoch: int | None = None) -> None:
        """Advance by one epoch."""
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step()
            self._last_lr = self.successor.get_last_lr()
        else:
            self.last_epoch += 1
            self._apply()

    def get_last_lr(self) -> list[Rate]:
        """The current learning rate of each parameter group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """The position in both schedules."""
        return {
            "last_epoch": self.last_epoch,
            "_last_lr": list(self._last_lr),
            "successor": self.successor.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to a saved position; the optimiser's own state has its learning rates."""
        self.last_epoch = state_dict["last_epoch"]
        self._last_lr = list(state_dict["_last_lr"])
        self.successor.load_state_dict(state_dict["successor"])


def _main_schedule(optimizer: Optimizer, cfg: Any) -> LRScheduler:
    if cfg.LR_SCHEDULER == "cosine":
        return CosineAnnealingLR(optimizer, float(cfg.MAX_EPOCH))  # type: ignore[arg-type]  # as in Dassl
    if cfg.LR_SCHEDULER == "multi_step":
        if not isinstance(cfg.STEPSIZE, (list, tuple)):
            raise UserError(f"OPTIM.STEPSIZE must be a list if OPTIM.LR_SCHEDULER is multi_step, got {cfg.STEPSIZE!r}.")
        return MultiStepLR(optimizer, milestones=list(cfg.STEPSIZE), gamma=cfg.GAMMA)
    size = cfg.STEPSIZE[-1] if isinstance(cfg.STEPSIZE, (list, tuple)) and cfg.STEPSIZE else cfg.STEPSIZE
    if not isinstance(size, int):
        raise UserError(f"OPTIM.STEPSIZE must be a whole number if OPTIM.LR_SCHEDULER is single_step, got {size!r}.")
    return StepLR(optimizer, step_size=size if size > 0 else cfg.MAX_EPOCH, gamma=cfg.GAMMA)


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: Any, alike: bool = False) -> LRScheduler | WarmupScheduler:
    """The schedule that optim_cfg asks for; `step()` once per epoch.

    Args:
        optimizer: the optimiser.
        optim_cfg: OPTIM.
        alike: whether all groups have one learning rate in a constant warm-up, whatever their own.

    Raises:
        UserError: on an unknown LR_SCHEDULER or WARMUP_TYPE.
    """
    check_name(optim_cfg.LR_SCHEDULER, ["single_step", "multi_step", "cosine"], "OPTIM.LR_SCHEDULER")
    scheduler = _main_schedule(optimizer, optim_cfg)
    if optim_cfg.WARMUP_EPOCH <= 0:
        return scheduler
    if not optim_cfg.WARMUP_RECOUNT:
        scheduler.last_epoch = optim_cfg.WARMUP_EPOCH
    check_name(optim_cfg.WARMUP_TYPE, ["constant", "linear"], "OPTIM.WARMUP_TYPE")

    def of_group(rate: Rate, base: Rate) -> Rate:
        """The learning rate of a group with another base learning rate than the rest."""
        return rate if alike or base == optim_cfg.LR else rate * base / optim_cfg.LR

    def constant(epoch: int, base: Rate) -> Rate:
        return of_group(optim_cfg.WARMUP_CONS_LR, base)

    def linear(epoch: int, base: Rate) -> Rate:
        return base * epoch / optim_cfg.WARMUP_EPOCH if epoch else of_group(optim_cfg.WARMUP_MIN_LR, base)

    rate = constant if optim_cfg.WARMUP_TYPE == "constant" else linear
    return WarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, rate)


def cosines(optimizer: Optimizer, lengths: Sequence[int], least: float) -> LambdaLR:
    """A cosine from each group's learning rate to `least` over so many steps, then the next; `step()` once per step.

    A step of number n of N has least + (rate - least) (1 + cos(pi n / N)) / 2 (SGDR, arXiv 1608.03983, equation 5).
    """

    def factor(rate: float, step: int) -> float:
        left = step
        for length in lengths:
            if left < length:
                return (least + (rate - least) * (1 + math.cos(math.pi * left / length)) / 2) / (rate or 1)
            left -= length
        return least / (rate or 1)

    return LambdaLR(optimizer, [functools.partial(factor, group["lr"]) for group in optimizer.param_groups])
