"""The result of a run as data: result.json, written whole at the end of a test; it marks a finished run."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import dassl
import torch
import torchvision
from torch import nn

from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import holding
from modprompt.io.base_new import SEEN, base_classes
from modprompt.io.checkpoint import CHOICE
from modprompt.io.checksum import file_hash, sealed
from modprompt.io.images import IMAGE_FILES, facts_of, image_files, labels_of_choice, lists_of, mark_of, shots_of
from modprompt.io.result import FILE_NAME, JOBS, VERSION, runs_on_gpu
from modprompt.io.same_run import BEGAN_FROM, CLIP_FILES, named_in
from modprompt.io.settings import Settings, settings_hash
from modprompt.io.text import sha256_of, write_json
from modprompt.io.versions import versions
from modprompt.methods.model import PromptedModel
from modprompt.methods.named_files import clip_files
from modprompt.methods.records import classes_record, method_record
from modprompt.trainers import artifacts
from modprompt.trainers.backbone import input_texts
from modprompt.trainers.device import on_card
from modprompt.trainers.learned import prompts_hash
from modprompt.trainers.test_predictions import Answers
from modprompt.trainers.training_state import texts_of


def _said(trainer: Any, part: str, name: str, otherwise: Any = None) -> Any:
    """An attribute of a part of one of our trainers; for another trainer, which has no parts, `otherwise`."""
    return getattr(getattr(trainer, part, None), name, otherwise)


def _of_learner(trainer: Any) -> dict[str, Any]:
    """Hash and schedules (written as SCHEDULE_TEXT) of what a trainer has learned; nothing if it learns nothing."""
    model = getattr(trainer, "model", None)
    learner, learned = (getattr(model, name, None) for name in ("prompt_learner", "learned"))
    if learner is None or learned is None or not list(learned.parameters()):
        return {}
    sides = learner.schedules._asdict()
    return {
        "prompts_hash": prompts_hash(learned),
        "schedules": {side: str([list(step) for step in schedule]) for side, schedule in sides.items()},
        "places": {side: schedule.place for side, schedule in sides.items()},
    }


def _of_model(trainer: Any) -> dict[str, Any]:
    """A result's method, classes and CLIP, as in a checkpoint."""
    model = getattr(trainer, "model", None)
    if not isinstance(model, PromptedModel):
        return {}
    record = _said(trainer, "checkpoints", "method_record", lambda: method_record(model.method))
    return {
        "method": {**record(), **model.prompt_learner.stands_on()},
        "class_names": classes_record(model.classes, model.prompt_learner),
        "clip": model.clip_facts.as_record(),
        **({"logits": model.said_of_logits} if model.said_of_logits else {}),
    }


def _mark_of_method(trainer: Any) -> str:
    """The mark that the settings of a trainer's method give a result; empty for none."""
    model = getattr(trainer, "model", None)
    return model.mark() if isinstance(model, PromptedModel) else ""


def _seen_by(trainer: Any) -> str:
    """What the training saw of new classes; empty for nothing."""
    model = getattr(trainer, "model", None)
    return model.method.results.seen if isinstance(model, PromptedModel) else ""


def _of_classes(trainer: Any) -> dict[str, bool]:
    """Whether what was learned holds only for its classes, if the model says so: then only features are tested."""
    return {"class_bound": True} if getattr(getattr(trainer, "model", None), "class_bound", False) else {}


def _said_before(trainer: Any, folder: str, learned: str) -> Mapping[str, Any]:
    """An earlier start's result of the same training, from its folder or its round's; empty without one."""
    found = [holding.of_training(place).result or {} for place in (trainer.cfg.OUTPUT_DIR, folder) if place]
    return next((one for one in found if learned and one.get("prompts_hash") == learned), {})


def _cost(trainer: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained, and the seconds of training (all starts of the run) and test, where they are known.

    Args:
        trainer: after its test.
        before: from _said_before, for what this start of a finished run did not do again.
    """
    model, jobs = getattr(trainer, "model", None), os.environ.get(JOBS, "")
    model = getattr(model, "learned", model)  # a head's rows are those of its training's classes
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    of_parts = {"training_s": "resume", "testing_s": "evaluation"}
    seconds = {name: _said(trainer, part, name) for name, part in of_parts.items()}
    seconds = {name: before.get(name) if value is None else value for name, value in seconds.items()}
    return {
        "trained_parameters": sum(one.numel() for one in parameters if one.requires_grad),
        **{name: round(value, 3) for name, value in seconds.items() if value is not None},
        **({"jobs_at_once": int(jobs)} if jobs.isdecimal() else {}),
    }


def _of_gpu(on_cuda: bool) -> dict[str, Any]:
    """The memory of the run's GPU in GiB, and how many runs shared it, if their starter has said."""
    if not on_cuda:
        return {}
    runs, whole = runs_on_gpu(), torch.cuda.get_device_properties(0).total_memory
    return {"gpu_gib": round(whole / 2**30, 3), **({} if runs is None else {"runs_on_gpu": runs})}


def _of_checkpoint(trainer: Any, folder: str, epoch: int | None) -> dict[str, Any]:
    """Name and hash of the checkpoint that was tested, the run's own or another's; nothing if there is none."""
    path = _said(trainer, "checkpoints", "path", "")
    if not getattr(getattr(trainer, "parts", None), "trains", True):
        return {}
    if path:
        return {"checkpoint": {"name": "/".join(path.split(os.sep)[-2:]), "hash": sha256_of(path)}}
    try:
        found = holding.weights_of(folder, epoch) if folder else {}
    except UserError:
        return {}
    return {"checkpoint": found} if found else {}


def _of_initial_weights(trainer: Any) -> dict[str, str]:
    """Hash of the file MODEL.INIT_WEIGHTS; nothing if there was none."""
    found = _said(trainer, "checkpoints", "initial_hash", "")
    return {"init_weights": found} if found else {}


def _compiled(trainer: Any, asked: str) -> dict[str, str]:
    """What MODEL.COMPILE asked for, what ran ("eager" or torch.compile's mode), and why the two differ."""
    ran = getattr(getattr(trainer, "model", None), "compiled", "") or "eager"
    return {"asked": asked, "ran": ran, "why": "" if ran == (asked or "eager") else "this trainer compiles nothing"}


def _of_features(trainer: Any, results: dict[str, Any]) -> dict[str, Any]:
    """The entries of features."""
    return {name: part for one in getattr(trainer, "added", ()) for name, part in one.result(results).items()}


def _notes(trainer: Any, evaluated: str) -> dict[str, list[str]]:
    """What the log noted of a training, besides its settings; nothing if another run trained the model."""
    said = [*getattr(trainer.dm.dataset, "notes", ()), *_said(trainer, "building", "notes", ())]
    return {"notes": said} if said and not evaluated else {}


def _of_choice(trainer: Any, model_dir: str) -> dict[str, Any]:
    """What a run chose; for a model that is only tested, what its own run chose, if that is known."""
    if not model_dir:
        return dict(_said(trainer, "checkpoints", "chosen", dict)())
    by_loaded = _said(trainer, "checkpoints", "chosen_by_loaded", dict)()
    said = {**(holding.of_training(model_dir).result or {}), **by_loaded}
    return {key: said[key] for key in CHOICE if said.get(key)}


def peak_memory_gib(on_cuda: bool) -> float:
    """The most memory that this process has held: PyTorch's on CUDA, else all of it (0.0 if not known)."""
    if on_cuda:
        return torch.cuda.max_memory_allocated() / 2**30
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def _require_a_column_each(trainer: Any, columns: int) -> None:
    """Raise UserError if logits have other columns than the data set's classes (0 columns: they are no logits)."""
    classes = trainer.dm.num_classes
    if columns not in (0, classes):
        raise UserError(
            f"{trainer.cfg.DATASET.NAME} has the labels 0 to {classes - 1}, but logits have {columns} columns, not "
            "one for each class: no accuracy would mean anything"
        )


class ResultRecorder:
    """Keeps the last results of a trainer's evaluator.

    Args:
        trainer: a trainer with an `evaluator`.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.results: dict[str, Any] | None = None
        self.started = time.time()
        self.began_from = holding.resumed_from(getattr(trainer.cfg, "RESUME", ""))
        self.answers = Answers(trainer.evaluator)
        evaluate = trainer.evaluator.evaluate

        def recorded() -> dict[str, Any]:
            _require_a_column_each(trainer, self.answers.columns)
            results: dict[str, Any] = evaluate()
            run_folder.require_still(trainer.cfg.OUTPUT_DIR)  # the test may have taken long
            self.results = results
            return results

        trainer.evaluator.evaluate = recorded

    def _labels_of_choice(self, cfg: Any) -> int:
        """How many images a run chose by, whose labels no round asks for; of base classes if halves are apart."""
        dataset = self.trainer.dm.dataset
        found = labels_of_choice(dataset, cfg)
        if not (found and _said(self.trainer, "evaluation", "halves_apart", False)):
            return found
        border = base_classes(self.trainer.dm.num_classes)
        return sum(one.label < border for one in dataset.val)

    def _left_beside(self, folder: str, tested: Any, evaluated: str) -> dict[str, Any]:
        of_training = {} if evaluated else artifacts.of_training(folder)
        return {**artifacts.of_test(self.answers, self.trainer, folder, tested), **of_training}

    def write(
        self,
        cfg: Any,
        evaluated: str,
        settings: Settings,
        model_dir: str = "",
        more: Mapping[str, Any] | None = None,
        epoch: int | None = None,
    ) -> str:
        """Write result.json into cfg.OUTPUT_DIR.

        Args:
            cfg: the run's configuration.
            evaluated: which checkpoint was tested, if the run did not train it.
            settings: what files, flags and options gave.
            model_dir: the folder of the run that trained it.
            more: further entries, which replace its own, also those for files next to it.
            epoch: of that run, if not its best or last was tested.

        Returns:
            The path of the file, or "" if nothing was tested.

        Raises:
            UserError: if the folder is no longer the one that the run began in.
        """
        run_folder.require_still(cfg.OUTPUT_DIR)
        if self.results is None:
            return ""
        dataset, on_cuda = self.trainer.dm.dataset, on_card(cfg)
        given = settings.texts()
        by_validation = cfg.TEST.SPLIT == "val" and bool(dataset.val)
        tested = dataset.val if by_validation else dataset.test
        choice = 0 if evaluated else self._labels_of_choice(cfg)
        learner = _of_learner(self.trainer)
        before = {} if evaluated else _said_before(self.trainer, cfg.OUTPUT_DIR, learner.get("prompts_hash", ""))
        content = {
            "trainer": cfg.TRAINER.NAME,
            "dataset": cfg.DATASET.NAME,
            "backbone": cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME,
            "backbone_hash": str(_said(self.trainer, "run", "fingerprint", "")),
            **_of_model(self.trainer),
            "input": input_texts(cfg),
            "seed": max(cfg.SEED, -1),
            "shots": shots_of(cfg),
            "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
            **_notes(self.trainer, evaluated),
            "tested_on": "val" if by_validation else "test",
            **facts_of(dataset, cfg),
            **_of_choice(self.trainer, model_dir),
            **({"labels_of_choice": choice} if choice else {}),
            "files": {name: file_hash(path) for name, path in getattr(dataset, "record_files", {}).items()},
            "evaluated": evaluated,
            **_of_checkpoint(self.trainer, model_dir or cfg.OUTPUT_DIR, epoch),
            **({} if evaluated else {BEGAN_FROM: _said(self.trainer, "resume", "began_from", self.began_from)}),
            **_of_initial_weights(self.trainer),
            "images": len(tested),
            "correct": round(len(tested) * self.results.get("accuracy", 0) / 100),
            **{f"{name}_pct": float(value) for name, value in self.results.items()},
            **(self._left_beside(cfg.OUTPUT_DIR, tested, evaluated) if more is None else {}),
            **learner,
            **_of_features(self.trainer, self.results),
            **_of_classes(self.trainer),
            **_cost(self.trainer, before),
            "text_chunk": _said(self.trainer, "resume", "text_chunk"),
            "elapsed_s": round(time.time() - self.started, 1),
            "peak_gib": round(peak_memory_gib(on_cuda), 3),
            **_of_gpu(on_cuda),
            "compile": _compiled(self.trainer, cfg.MODEL.COMPILE),
            "device": torch.cuda.get_device_name() if on_cuda else "cpu",
            "versions": {
                **versions(),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "dassl": getattr(dassl, "__version__", "unknown"),
            },
            "config_hash": settings_hash(given),
            "settings": given,
            "sources": settings.sources(),
            **(more or {}),
        }
        content[CLIP_FILES] = clip_files(texts_of(cfg), named_in(content))
        if IMAGE_FILES not in content:
            content[IMAGE_FILES] = image_files(lists_of(dataset, cfg), getattr(dataset, "image_root", ""))
        marked = "; ".join(dict.fromkeys(filter(None, (mark_of(content), _mark_of_method(self.trainer)))))
        content.update({"selected_on_test": marked} if marked else {})
        seen = _seen_by(self.trainer)
        content.update({SEEN: seen} if seen else {})
        path = os.path.join(cfg.OUTPUT_DIR, FILE_NAME)
        write_json(path, sealed(content, VERSION))
        return path
