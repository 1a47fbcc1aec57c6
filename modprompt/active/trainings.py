"""The trainings of rounds: each with its own trainer, on the labels so far, in the round's folder, from scratch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dassl.engine import build_trainer

from modprompt.active import generators
from modprompt.active.pool import Pool, given
from modprompt.active.record import Round
from modprompt.data.rounds import round_name
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import same_run
from modprompt.io.files import copy_whole
from modprompt.io.settings import Settings
from modprompt.trainers import artifacts, training_state
from modprompt.trainers.learned import prompts_hash
from modprompt.trainers.result import ResultRecorder
from modprompt.trainers.run_config import RunConfig


class Trainings:
    """Trains rounds, and keeps the trainer of the newest.

    Args:
        cfg: the configuration of the run.
        settings: what files, flags and options gave.
        folder: where rounds are kept.
        pool: the images.
        tests: whether there is anything to test on.
    """

    def __init__(self, cfg: RunConfig, settings: Settings, folder: Path, pool: Pool, tests: bool) -> None:
        self.cfg, self.settings, self.folder, self.pool, self.tests = cfg, settings, folder, pool, tests
        self.decisive: dict[str, str] = {}  # from earlier rounds: what the trainers of all rounds share
        self._prompts: dict[int, str] = {}  # hashes of what rounds have learned
        self._trainer: Any = None

    def know(self, one: Round) -> None:
        """Compare what is trained from now on with this recorded round."""
        if one.facts is not None:
            self.decisive = dict(one.facts["trainer"])
            self._prompts[one.number] = str(one.facts["prompts_hash"])

    def forget(self, number: int) -> None:
        """Remove a round's training, so that what its record asks for is trained from scratch."""
        shutil.rmtree(self._folder_of(number), ignore_errors=True)

    def _folder_of(self, number: int) -> str:
        """The output folder of a round's training."""
        return str(self.folder / round_name(number))

    def _cfg_of(self, number: int) -> RunConfig:
        """The configuration of a round's training."""
        cfg = self.cfg.of_one_training(OUTPUT_DIR=self._folder_of(number), RESUME="")
        return cfg if self.tests else cfg.changed({"TEST.NO_TEST": True})

    def _built(self, cfg: RunConfig) -> Any:
        """A trainer on the labels so far; UserError if what decides its training differs from earlier rounds."""
        with given(cfg.DATASET.NAME, self.pool.as_dataset()):
            trainer = build_trainer(cfg)
        facts = {**trainer.resume.settings(), same_run.INITIAL: trainer.checkpoints.initial_hash}
        facts.pop(training_state.TRAINING_IMAGES, None)
        training_state.require_same(facts, self.decisive or facts, str(self.folder))
        self.decisive = facts
        return trainer

    def try_out(self) -> None:
        """Build a trainer before images are chosen, so that what it refuses costs nobody a label. No generator moves.

        Raises:
            UserError: on a wrong setting, class name or file.
        """
        cfg = self.cfg.of_one_training(OUTPUT_DIR="", RESUME="", VERBOSE=False)  # its lists belong to no training
        with generators.kept(), given(cfg.DATASET.NAME, self.pool.for_scoring()):
            build_trainer(cfg)

    def train(self, number: int) -> tuple[Any, dict[str, float]]:
        """Train a round and test it, resuming where an earlier start was killed; its state stays until `settled`.

        Returns:
            The trainer, and what its evaluator found, in percent; nothing without test images.

        Raises:
            UserError: if the CLIP, or something else that decides a training, differs from earlier rounds.
        """
        self._trainer = None  # its memory first
        cfg = self._cfg_of(number)
        if not training_state.exists(cfg.OUTPUT_DIR):
            self.forget(number)  # checkpoints alone do not have the generators' states
        with run_folder.hold(cfg.OUTPUT_DIR):
            trainer = self._built(cfg)
            trainer.resume.keeps_state = True
            recorder = ResultRecorder(trainer)
            trainer.train()
            recorder.write(cfg, "", self.settings)
        self._trainer = trainer
        return trainer, {name: float(value) for name, value in (recorder.results or {}).items()}

    def settled(self, number: int) -> None:
        """Remove the state of a round's training, once the round and the generators' states are on record."""
        training_state.remove(self._folder_of(number))

    def trainer_of(self, number: int) -> Any:
        """The trainer of the newest round: the one that trained it, or a new one with its prompts; no generator moves.

        Raises:
            UserError: if the prompts are missing, or not those on record.
        """
        if self._trainer is None:
            cfg = self._cfg_of(number)
            anew = f"to train anew from round {number} on, move {cfg.OUTPUT_DIR}.json and all later rounds away"
            with generators.kept(), run_folder.hold(cfg.OUTPUT_DIR):
                trainer = self._built(cfg)
                try:
                    trainer.load_model(cfg.OUTPUT_DIR)
                except UserError as error:
                    raise UserError(f"the prompts of round {number} cannot be used ({error}); {anew}") from None
            if prompts_hash(trainer.model.learned) != self._prompts[number]:
                raise UserError(f"{cfg.OUTPUT_DIR} has other prompts than round {number} was tested with; {anew}")
            self._trainer = trainer
        return self._trainer

    def leave(self, number: int) -> dict[str, Any]:
        """Copy a round's files to where a run without rounds has its own, the output folder itself.

        Returns:
            What the result holds on the files of its test and of its steps.
        """
        source = Path(self._folder_of(number))
        for name in self.trainer_of(number).get_model_names():
            for path in sorted((source / name).iterdir()):
                if path.is_file():
                    copy_whole(path, Path(self.cfg.OUTPUT_DIR) / name / path.name)
        return artifacts.of_another(str(source), self.cfg.OUTPUT_DIR)
