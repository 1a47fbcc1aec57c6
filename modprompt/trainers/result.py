"""Writing result.json at the end of a test; the file shows that a run is finished.

The result of a trainer of another codebase has only the entries that Dassl and the data set provide.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import dassl
import torch
import torchvision
from torch import nn

from modprompt.data.reader_facts import reader_facts, shots_of
from modprompt.data.selection import facts_of, labels_of_choice, lists_of
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import identity
from modprompt.io.base_new import SEEN, base_classes
from modprompt.io.checkpoint import CHOICE
from modprompt.io.files import sha256_of, write_json
from modprompt.io.identity import BEGAN_FROM, CLIP_FILES, IDENTITY, INITIAL, NOT_READ, SHOTS
from modprompt.io.images import IMAGE_FILES, image_files
from modprompt.io.records import file_hash, sealed
from modprompt.io.result import CHANGED_DURING, FILE_NAME, IMAGES_CHANGED, JOBS, VERSION, mark_of, runs_on_gpu
from modprompt.io.settings import Settings, settings_hash, texts_of
from modprompt.io.versions import versions
from modprompt.methods.named_files import clip_files
from modprompt.methods.records import classes_record, contents_named
from modprompt.trainers import artifacts, unknown_classes
from modprompt.trainers.backbone import input_texts
from modprompt.trainers.checkpoints import selection_of_loaded
from modprompt.trainers.device import on_card
from modprompt.trainers.learned import prompts_hash
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.run_facts import contents_of_run, method_record, text_chunk
from modprompt.trainers.test_predictions import Answers


def _of_model(trainer: PromptTrainer) -> dict[str, Any]:
    """Return the entries on the method, the classes and the CLIP model, as in a checkpoint."""
    model, seen = trainer.model, trainer.model.method.results.seen
    return {
        "backbone_hash": trainer.fingerprint,
        "method": {**method_record(trainer), **model.prompt_learner.stands_on()},
        "class_names": classes_record(model.classes, model.prompt_learner),
        "clip": model.clip_facts.as_record(),
        **({"logits": model.said_of_logits} if model.said_of_logits else {}),
        **({"class_bound": True} if model.class_bound else {}),  # then only features are tested
        **({SEEN: seen} if seen else {}),
    }


def _of_learner(trainer: PromptTrainer) -> dict[str, Any]:
    """Return the hash and the schedules of the learned prompts, or {} for a trainer that learns nothing."""
    learned = trainer.model.learned
    if not list(learned.parameters()):
        return {}
    sides = trainer.model.prompt_learner.schedules._asdict()
    return {
        "prompts_hash": prompts_hash(learned),
        "schedules": {side: str([list(step) for step in schedule]) for side, schedule in sides.items()},
        "places": {side: schedule.place for side, schedule in sides.items()},
    }


def _identity(trainer: PromptTrainer | None, shots_hash: str) -> dict[str, dict[str, str]]:
    """Return the entry "identity" of result.json.

    Args:
        trainer: the trainer, or None for a trainer of another codebase.
        shots_hash: the hash of the file with the number of shots of each class, or {} without one.
    """
    shots = NOT_READ if trainer and not trainer.reads_training_images else shots_hash
    contents = {SHOTS: shots} if shots_hash else {}
    if trainer is None:
        return identity.record(contents, {})
    contents |= {INITIAL: trainer.initial_hash} if trainer.initial_hash else {}
    return identity.record({**contents, **contents_of_run(trainer)}, contents_named(trainer.method))


def _seconds(trainer: PromptTrainer, learned: str, folders: Sequence[str]) -> dict[str, float]:
    """Return the duration of the training and of the test in seconds, if they are known.

    Args:
        trainer: the trainer after its test.
        learned: the hash of the learned prompts.
        folders: folders with earlier results. A result with the same prompts provides durations of steps that this
            start of the run did not repeat.
    """
    found = {"training_s": trainer.training_s, "testing_s": trainer.testing_s}
    results = [run_folder.of_training(folder).result or {} for folder in folders if folder]
    before = next((one for one in results if learned and one.get("prompts_hash") == learned), {})
    found = {name: before.get(name) if value is None else value for name, value in found.items()}
    return {name: round(value, 3) for name, value in found.items() if value is not None}


def _trained(model: Any) -> int:
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return sum(one.numel() for one in parameters if one.requires_grad)


def of_gpu(on_cuda: bool) -> dict[str, Any]:
    """Return the memory of the GPU in GiB and the number of runs that share the GPU, if this number is known."""
    if not on_cuda:
        return {}
    runs, whole = runs_on_gpu(), torch.cuda.get_device_properties(0).total_memory
    return {"gpu_gib": round(whole / 2**30, 3), **({} if runs is None else {"runs_on_gpu": runs})}


def _of_checkpoint(trainer: PromptTrainer | None, folder: str, epoch: int | None) -> dict[str, Any]:
    """Return the name and hash of the tested checkpoint, or {} if there is none."""
    if trainer is not None and not trainer.learns:
        return {}
    if trainer is not None and trainer.loaded_path:
        path = trainer.loaded_path
        return {"checkpoint": {"name": "/".join(path.split(os.sep)[-2:]), "hash": sha256_of(path)}}
    try:
        found = run_folder.weights_of(folder, epoch) if folder else {}
    except UserError:
        return {}
    return {"checkpoint": found} if found else {}


def _of_choice(trainer: PromptTrainer | None, model_dir: str) -> dict[str, Any]:
    """Return the entries of result.json on the selected checkpoint and hyperparameters of the tested model."""
    if not model_dir:
        return {} if trainer is None else trainer.selection()
    by_loaded = {} if trainer is None else selection_of_loaded(trainer)
    said = {**(run_folder.of_training(model_dir).result or {}), **by_loaded}
    return {key: said[key] for key in CHOICE if said.get(key)}


def peak_memory_gib(on_cuda: bool) -> float:
    """Return the peak memory of this process in GiB (GPU memory on CUDA), or 0.0 if it is unknown."""
    if on_cuda:
        return torch.cuda.max_memory_allocated() / 2**30
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


class ResultRecorder:
    """Records the results of an evaluator, and writes them to result.json.

    Args:
        trainer: a trainer with an `evaluator`.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.ours: PromptTrainer | None = trainer if isinstance(trainer, PromptTrainer) else None
        self.results: dict[str, Any] | None = None
        self.started = time.time()
        self.began_from = (
            "" if self.ours else run_folder.resumed_from(trainer.cfg.RESUME)
        )  # our trainers record it themselves
        self.answers = Answers(trainer.evaluator)
        self.unknown = unknown_classes.images_of(trainer)
        self._evaluate = trainer.evaluator.evaluate
        trainer.evaluator.evaluate = self._recorded

    def _recorded(self) -> dict[str, Any]:
        classes, cfg = self.trainer.dm.num_classes, self.trainer.cfg
        if self.answers.columns not in (0, classes):  # 0: the outputs are not logits
            raise UserError(
                f"The data set {cfg.DATASET.NAME} has the labels 0 to {classes - 1}, but the model returns "
                f"{self.answers.columns} logits per image instead of one per class, so the accuracy would be "
                f"meaningless. Change the trainer so that it returns {classes} logits per image."
            )
        results: dict[str, Any] = self._evaluate()
        run_folder.require_still(cfg.OUTPUT_DIR)  # the test may have taken long
        self.results = results
        return results

    def _labels_of_choice(self, cfg: Any) -> int:
        """Return the number of labelled validation images that a run used to select checkpoints or hyperparameters.

        If base and new classes are tested separately, only images of base classes count.
        """
        dataset = self.trainer.dm.dataset
        found = labels_of_choice(dataset, cfg)
        if not (found and self.ours and self.ours.halves_apart):
            return found
        border = base_classes(self.trainer.dm.num_classes)
        return sum(one.label < border for one in dataset.val)

    def _images_changed(self, model_dir: str) -> bool:
        """Return True if the training images changed while this run, or the run in `model_dir`, trained."""
        if model_dir:
            return IMAGES_CHANGED in (run_folder.of_training(model_dir).result or {})
        return self.ours is not None and self.ours.images_changed

    def _of_ours(self, trainer: PromptTrainer, folders: Sequence[str]) -> dict[str, Any]:
        """Return the entries of result.json that only trainers of modprompt have."""
        learner = _of_learner(trainer)
        assert self.results is not None
        return {
            **_of_model(trainer),
            **learner,
            **(trainer.search.result(self.results) if trainer.search else {}),
            **_seconds(trainer, learner.get("prompts_hash", ""), folders),
            "text_chunk": text_chunk(trainer),
            **({"in_orders": dict(trainer.orders)} if trainer.orders else {}),
        }

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
            cfg: the configuration of the run.
            evaluated: the tested checkpoint, if another run trained it; else empty.
            settings: the explicit settings.
            model_dir: the folder of the run that trained the tested checkpoint.
            more: further entries, which replace entries of the same names.
            epoch: the tested epoch, if it is not the best or last.

        Returns:
            The path of the file, or "" if nothing was tested.

        Raises:
            UserError: if the output folder was deleted or replaced during the run, or TEST.OOD is set and the outputs
                of the trainer are not logits.
        """
        run_folder.require_still(cfg.OUTPUT_DIR)
        if self.results is None:
            return ""
        trainer, ours, folder = self.trainer, self.ours, cfg.OUTPUT_DIR
        if self.unknown and self.answers.why_not:
            raise UserError(
                f"TEST.OOD {cfg.TEST.OOD} is not supported by the trainer {cfg.TRAINER.NAME}, because "
                f"{self.answers.why_not}. Remove TEST.OOD."
            )
        dataset, on_cuda, jobs = trainer.dm.dataset, on_card(cfg.USE_CUDA), os.environ.get(JOBS, "")
        given = settings.texts()
        by_validation = cfg.TEST.SPLIT == "val" and bool(dataset.val)
        tested = dataset.val if by_validation else dataset.test
        said = reader_facts(dataset)
        notes = [*said.notes, *(ours.notes if ours else ())]
        choice = 0 if evaluated else self._labels_of_choice(cfg)
        content = {
            "trainer": cfg.TRAINER.NAME,
            "dataset": cfg.DATASET.NAME,
            "backbone": cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME,
            "backbone_hash": "",
            "input": input_texts(cfg),
            "seed": max(cfg.SEED, -1),
            "shots": shots_of(cfg),
            "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
            **({"notes": notes} if notes and not evaluated else {}),
            "tested_on": "val" if by_validation else "test",
            **facts_of(dataset, cfg),
            **_of_choice(ours, model_dir),
            **({"labels_of_choice": choice} if choice else {}),
            "files": {name: file_hash(path) for name, path in said.record_files.items()},
            "evaluated": evaluated,
            **_of_checkpoint(ours, model_dir or folder, epoch),
            **({} if evaluated else {BEGAN_FROM: ours.began_from if ours else self.began_from}),
            **({IMAGES_CHANGED: CHANGED_DURING} if self._images_changed(model_dir) else {}),
            "images": len(tested),
            "correct": round(len(tested) * self.results.get("accuracy", 0) / 100),
            **{f"{name}_pct": float(value) for name, value in self.results.items()},
            **(artifacts.of_test(self.answers, trainer, folder, tested) if more is None else {}),
            **(unknown_classes.entry(trainer, self.answers.scores(), self.unknown) if self.unknown else {}),
            **(artifacts.of_training(folder) if more is None and not evaluated else {}),
            "trained_parameters": _trained(ours.model.learned if ours else getattr(trainer, "model", None)),
            **({"jobs_at_once": int(jobs)} if jobs.isdecimal() else {}),
            "text_chunk": None,
            **(self._of_ours(ours, () if evaluated else (trainer.cfg.OUTPUT_DIR, folder)) if ours else {}),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "elapsed_s": round(time.time() - self.started, 1),
            "peak_gib": round(peak_memory_gib(on_cuda), 3),
            **of_gpu(on_cuda),
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
            **(unknown_classes.threshold_entry(ours) if ours and not evaluated else {}),
            **(more or {}),
        }
        lists = lists_of(dataset, cfg)
        if ours and not ours.reads_training_images:  # nor the file of their numbers: no part of the identity
            lists = {name: images for name, images in lists.items() if name != "training"}
        content[IDENTITY] = _identity(ours, said.shots_hash)
        content[CLIP_FILES] = clip_files(texts_of(cfg), content)
        if IMAGE_FILES not in content:
            content[IMAGE_FILES] = image_files(lists, said.image_root)
        marks = (mark_of(content), ours.model.mark() if ours else "")
        marked = "; ".join(dict.fromkeys(filter(None, marks)))
        content.update({"selected_on_test": marked} if marked else {})
        path = os.path.join(folder, FILE_NAME)
        write_json(path, sealed(content, VERSION))
        return path
