"""Kinds of files that hold what was learned: checkpoints, training states, schedules and alphas."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dassl.config import get_cfg_default
from dassl.utils import load_pretrained_weights, resume_from_checkpoint, save_checkpoint

import modprompt
from modprompt.errors import UserError
from modprompt.io.checkpoint_files import newest_checkpoint
from modprompt.io.checksum import KEY
from modprompt.io.settings import Given, Settings
from modprompt.methods.heads import bank_file
from modprompt.methods.loading import load
from modprompt.methods.parts.lr_schedule import build_lr_scheduler
from modprompt.methods.search import alphas_file as alphas
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search import schedule_files
from modprompt.methods.table import METHODS, PROMPTS
from modprompt.trainers import training_state
from tests.campaign.kind import JSON, NPY, NPZ, OLD_TORCH, TEXT, TORCH, Kind, resealed
from tests.campaign.values import plain as comparable
from tests.conftest import random_clip
from tests.methods import small

NAMES = ("forest", "river")
PHRASES = Path(__file__).parents[1] / "eurosat_phrases.json"
SIDE = schedule_file.SideOfSearch(
    "before_start",
    ((0, 1), (1, 1)),
    (0.25, -0.1),
    (((0, 0), (0, 1)), ((0, 0), (0, 1), (schedule_file.ALL, 1))),
    (((0.0, 0.125), (0.5, 0.1, 0.2)), ((-1.5, 0.1), (0.5, 0.1, 2.0))),
)


@functools.lru_cache(maxsize=1)
def _clip() -> Any:
    return random_clip(text_layers=3, vision_layers=3, vision_width=64)


@functools.lru_cache(maxsize=1)
def methods() -> dict[str, Any]:
    """One of every kind of learner, by name."""
    found = {row.name: small(row.method, _clip()) for row in METHODS if row.kind == PROMPTS and not row.of}
    found["CoOp of single classes"] = modprompt.CoOp(n_ctx=2, csc=True)
    found["CoOp with phrases"] = modprompt.CoOp(n_ctx=2, aspath=str(PHRASES))
    found["search around MPL"] = modprompt.Search(add=1, remove=1).over(small(modprompt.MPL, _clip()))
    return found


def _model(method: Any) -> Any:
    names = ("Forest", "River") if getattr(method, "aspath", "") else NAMES
    return method.on(_clip(), names)


def _loaded(model: Any) -> Any:
    return repr(model.method), model.classes.names, dict(model.saved_state())


def _resealed_checkpoint(content: Any) -> Any:
    """The record in a checkpoint has the hash of itself alone."""
    if isinstance(content, dict) and isinstance(content.get(KEY), dict):
        return {**content, **resealed({KEY: content[KEY]})}
    return content


def _checkpoint(name: str, method: Any) -> Kind:
    def write(folder: Path) -> Path:
        _model(method).save(folder / "prompts.pt")
        return folder / "prompts.pt"

    def read(path: Path) -> Any:
        return _loaded(load(path, _clip()))

    return Kind(f"checkpoint of {name}", TORCH, write, read, True, _resealed_checkpoint)


def _built(method: Any) -> Any:
    """A head, built."""
    model = _model(method)
    torch.manual_seed(0)
    bank = model.bank([torch.randn(4, model.width)], torch.tensor([0, 0, 1, 1]))
    model.head.build(bank, model.scale())
    return model


def _write_head(folder: Path) -> Path:
    _model(small(modprompt.KgCoOp, _clip())).save(folder / "prompts.pt")
    _built(modprompt.TipAdapter(prompts_from=str(folder / "prompts.pt"))).save(folder / "head.pt")
    return folder / "head.pt"


_LOW_RANK = modprompt.CLIPLoRA(r=1, params="q o", position="all")


def _write_low_rank(folder: Path) -> Path:
    torch.save(_model(_LOW_RANK).prompt_learner.as_repository(), folder / "lora_weights.pt")
    return folder / "lora_weights.pt"


def _read_low_rank(path: Path) -> Any:
    return _loaded(load(path, _clip(), method=_LOW_RANK, names=NAMES))


def _read_head(path: Path) -> Any:
    return _loaded(load(path, _clip()))


def _write_enhanced(folder: Path) -> Path:
    _model(modprompt.TaskRes(enhanced_base=str(_write_base(folder)))).save(folder / "head.pt")
    return folder / "head.pt"


def _write_bank(folder: Path) -> Path:
    torch.manual_seed(0)
    views = bank_file.Views([torch.randn(4, 32)], [torch.tensor([0, 0, 1, 1])])
    bank_file.write(str(folder), {"OPTIM.LR": "0.1"}, views)
    return folder / bank_file.FILE_NAME


def _read_bank(path: Path) -> Any:
    found = bank_file.read(str(path.parent), {"OPTIM.LR": "0.1"}, 32, 2)
    return _model(modprompt.TipAdapter()).bank(found.features, found.labels)


def _write_base(folder: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"state_dict": {"weight": torch.randn(32, 64)}}, folder / "base.pt")
    return folder / "base.pt"


def _read_base(path: Path) -> Any:
    return _model(modprompt.TaskRes(enhanced_base=str(path))).raw_text()


def _write_new(folder: Path) -> dict[str, Any]:
    _model(small(modprompt.MPL, _clip())).save(folder / "new.pt")
    content: dict[str, Any] = torch.load(folder / "new.pt", weights_only=True)
    (folder / "new.pt").unlink()
    content[KEY]["run"] = {"settings": {"OPTIM.LR": "0.1"}}
    return content


def _of_family(folder: Path) -> dict[str, Any]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.randn(3))], lr=0.1, momentum=0.9)
    return {
        "state_dict": _write_new(folder)["state_dict"],
        "epoch": 5,
        "optimizer": optimiser.state_dict(),
        "scheduler": {"last_epoch": 5, "base_lrs": [0.1]},
        "val_result": 93.7,
    }


def _write_family(folder: Path) -> Path:
    torch.save(_of_family(folder), folder / "model.pth.tar-5")
    return folder / "model.pth.tar-5"


def _write_old(folder: Path) -> Path:
    torch.save(_of_family(folder), folder / "model.pth.tar-5", _use_new_zipfile_serialization=False)
    return folder / "model.pth.tar-5"


def _read_named(path: Path) -> Any:
    return _loaded(load(path, _clip(), method=small(modprompt.MPL, _clip()), names=NAMES))


def _write_of_dassl(folder: Path) -> Path:
    _, models, optims, scheds = _run_parts()
    state = {"state_dict": models["m"].state_dict(), "epoch": 3, "val_result": 50.0}
    parts = {"optimizer": optims["m"].state_dict(), "scheduler": scheds["m"].state_dict()}
    save_checkpoint({**state, **parts}, str(folder))
    return folder / "model.pth.tar-3"


@contextlib.contextmanager
def _dassls_errors() -> Iterator[None]:
    """Dassl raises ValueErrors, which programs print as they do ours."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from None


def _resume(path: Path) -> Any:
    _, models, optims, scheds = _run_parts()
    with _dassls_errors():
        epoch = resume_from_checkpoint(str(path.parent), models["m"], optims["m"], scheds["m"])
    return epoch, [part["m"].state_dict() for part in (models, optims, scheds)]


def _start_from(path: Path) -> Any:
    _, models, _, _ = _run_parts()
    with _dassls_errors():
        load_pretrained_weights(models["m"], str(path))
    return models["m"].state_dict()


def _run_parts() -> tuple[Any, ...]:
    cfg = get_cfg_default()
    cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH = "cosine", 1
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return (
        training_state.settings_of(cfg),
        {"m": model},
        {"m": optimiser},
        {"m": build_lr_scheduler(optimiser, cfg.OPTIM)},
    )


def _write_state(folder: Path) -> Path:
    settings, models, optims, scheds = _run_parts()
    models["m"](torch.rand(4, 3)).sum().backward()
    optims["m"].step()
    scheds["m"].step()
    training_state.save(str(folder), settings, 2, models, optims, scheds, 50.0, {"average": torch.ones(2), "chunk": 7})
    return folder / training_state.FILE_NAME


def _read_state(path: Path) -> Any:
    """What a run goes on with; it is as it was where a state is refused."""
    settings, models, optims, scheds = _run_parts()

    def held() -> Any:
        return comparable([part["m"].state_dict() for part in (models, optims, scheds)]), random.getstate()

    before = held()
    try:
        found = training_state.load(str(path.parent), settings, models, optims, scheds)
    except (UserError, OSError):
        assert held() == before
        raise
    states = [part["m"].state_dict() for part in (models, optims, scheds)]
    return found, states, random.getstate(), np.random.get_state(), torch.get_rng_state()


def _alphas(options: int = 3) -> alphas.Alphas:
    values = np.random.default_rng(0).normal(size=(3, options)).astype(np.float32)
    pairs = np.array([[(schedule_file.ALL, c) for c in range(options)]] * 3)
    return alphas.Alphas(values, pairs, "before_start")


def _write_alphas(folder: Path) -> Path:
    return alphas.write(folder, 3, {"text": _alphas(), "vision": _alphas(2)})


def _read_alphas(path: Path) -> Any:
    return {side: one._asdict() for side, one in alphas.read(path).items()}


def _write_bare(folder: Path) -> Path:
    return alphas.write_pair(folder, 3, _alphas().values, _alphas().values)[0]


def _write_schedule(folder: Path) -> Path:
    schedule_file.write(folder / schedule_file.FILE_NAME, {"text": SIDE, "vision": SIDE}, {"trainer": "DPLSearch"})
    return folder / schedule_file.FILE_NAME


def _expanded(*given: tuple[str, str]) -> Any:
    schedule_files._read.cache_clear()  # a file that changes twice within one tick of the clock is another one here
    found = schedule_files.expanded(Settings(tuple((key, Given(value, "the command line")) for key, value in given)))
    return [(key, one.value) for key, one in found.given]


def _read_named_in_settings(path: Path) -> Any:
    return _expanded(("TRAINER.MPL.SCHEDULE_TEXT", f"@{path}"), ("TRAINER.MPL.SCHEDULE_VISION", f"@{path}"))


def _read_path_of_dpl(path: Path) -> Any:
    return _expanded(("TRAINER.DPL.IMG_ALPHA_PATH", str(path)), ("TRAINER.DPL.TXT_ALPHA_PATH", str(path)))


def _write_pointer(folder: Path) -> Path:
    for epoch in (5, 7):
        (folder / f"model.pth.tar-{epoch}").write_bytes(b"")
    (folder / "checkpoint").write_text("model.pth.tar-7\n")
    return folder / "checkpoint"


def _read_pointer(path: Path) -> Any:
    return newest_checkpoint(str(path.parent))


def kinds() -> list[Kind]:
    """All of them."""
    return [
        *(_checkpoint(name, method) for name, method in methods().items()),
        Kind("checkpoint of a head behind prompts", TORCH, _write_head, _read_head, True, _resealed_checkpoint),
        Kind("checkpoint of an enhanced base", TORCH, _write_enhanced, _read_head, True),
        Kind("features that a head is built from", TORCH, _write_bank, _read_bank, True),
        Kind("file of CLIP-LoRA's repository", TORCH, _write_low_rank, _read_low_rank, True),
        Kind("enhanced base", TORCH, _write_base, _read_base, True),
        Kind("checkpoint of the family", TORCH, _write_family, _read_named, True),
        Kind("checkpoint of before PyTorch 1.6", OLD_TORCH, _write_old, _read_named),
        Kind("the name of a run's newest checkpoint", TEXT, _write_pointer, _read_pointer),
        Kind("checkpoint of Dassl, to go on from", TORCH, _write_of_dassl, _resume, True),
        Kind("checkpoint of Dassl, for first weights", TORCH, _write_of_dassl, _start_from, True),
        Kind("training state", TORCH, _write_state, _read_state, True),
        Kind("alphas", NPZ, _write_alphas, _read_alphas, True),
        Kind("alphas as a schedule", NPZ, _write_alphas, _read_named_in_settings, True),
        Kind("alphas of DPL's reference", NPY, _write_bare, _read_path_of_dpl),
        Kind("schedule.json", JSON, _write_schedule, schedule_file.read, True, resealed),
        Kind("schedule.json as a setting", JSON, _write_schedule, _read_named_in_settings, True, resealed),
    ]
