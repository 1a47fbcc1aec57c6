"""Checkpoints of a prompt learner: saved alone, known by what they were made with, loaded from ours and others."""

import hashlib
import os
import warnings

from modprompt.errors import UserError
from modprompt.learners.view import PREFIX, load_learner
from modprompt.storage.parts import copy_whole
from modprompt.storage.versioned import plain
from modprompt.trainers.once import one_line
from modprompt.trainers.run_folder import find_checkpoint, newest_checkpoint, save_checkpoint


class LearnerCheckpoints:
    """The part of a prompt trainer that saves, loads and resumes; its models are CheckpointViews."""

    checkpoint_prefix = PREFIX  # of the learner's names in them, for trainers without a method_class

    @property
    def checkpoint_name(self):
        """Folder of its checkpoints."""
        return self.method.folder

    @property
    def not_in_checkpoints(self):
        """Settings that a checkpoint need not share."""
        return ("PREC", *(one.key for one in self.method.settings() if not one.compared))

    def made_with(self):
        """What a checkpoint of this run fits only with: method, settings, CLIP, as {name: text}."""
        node = {key: str(value) for key, value in self.settings.items() if key not in self.not_in_checkpoints}
        facts = {f"TRAINER.{self.node_name}.{key}": value for key, value in node.items()}
        facts.update(
            {"the method": self.method.learner_of or self.node_name, "the weights of CLIP": self.backbone_fingerprint}
        )
        return facts

    @property
    def class_list(self):
        """Twelve hex digits that tell one list of class names from another."""
        return hashlib.sha256("\n".join(self.dm.dataset.classnames).encode()).hexdigest()[:12]

    def checkpoint_key(self, learner, name):
        """A parameter's name in checkpoints of a trainer without a method_class."""
        key = learner.checkpoint_key(name)
        return key if key.startswith(("image_encoder.", "text_encoder.")) else self.checkpoint_prefix + key

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        """Save the learner alone, without the optimiser: what is needed to use it."""
        settings = plain(self.resume_settings())
        for name in self.get_model_names():
            state = {
                "state_dict": self._models[name].state_dict(),
                "epoch": epoch + 1,
                "val_result": None if val_result is None else float(val_result),
                "made_with": plain(self.made_with()),
                "class_list": self.class_list,
                "backbone": self.cfg.MODEL.BACKBONE.NAME,
                "backbone_file": self.cfg.MODEL.BACKBONE.PATH,  # for people: nothing opens it
                "settings": settings,
            }
            folder = os.path.join(directory, name)
            path = save_checkpoint(state, folder, model_name)
            if is_best:
                copy_whole(path, os.path.join(folder, "model-best.pth.tar"))

    def resume_model_if_exist(self, directory):
        """Go on from the newest checkpoint in a run's folder, which must have been made with this run's settings.

        Returns:
            Number of finished epochs; 0 if there is no checkpoint.
        """
        epoch = 0
        for name in self.get_model_names():
            folder = os.path.join(directory, name)
            if not os.path.isfile(os.path.join(folder, "checkpoint")):
                print("No checkpoint found, train from scratch")
                return 0
            path = newest_checkpoint(folder)
            epoch = self._load(self._models[name], path)
            print(f'Found checkpoint "{path}": going on after epoch {epoch}, with a new optimiser')
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that no step was taken yet
                for _ in range(epoch):
                    self._scheds[name].step()
        return epoch

    def load_model(self, directory, epoch=None):
        """Load a checkpoint of this trainer, ours or the reference's, from a run's output folder.

        Args:
            directory: the output folder of a run.
            epoch: which epoch's; without it model-best.pth.tar, or if there is none the newest.

        Raises:
            UserError: if there is none or it does not fit.
        """
        with one_line():
            self._load_model(directory, epoch)

    def _load_model(self, directory, epoch):
        if not directory:
            raise UserError(
                f"{type(self).__name__}: --eval-only needs --model-dir, the output folder of a training run "
                "(MODEL.INIT_WEIGHTS names a single file)"
            )
        for name in self.get_model_names():
            path = find_checkpoint(os.path.join(directory, name), epoch)
            found = self._load(self._models[name], path)
            self.loaded_checkpoint = path
            print(f'Loading weights to {name} from "{path}" (epoch = {found})')

    def _load(self, view, path):
        loaded = load_learner(view, path, self.made_with())
        if loaded.classes:
            print(
                f"Dropped the class tokens of {loaded.classes} classes in {path}: "
                f"prompts are made of the {len(self.dm.dataset.classnames)} class names of this run"
            )
        if view.learner.ctx.dim() == 3 and loaded.class_list != self.class_list:
            other = "were learned for other classes" if loaded.class_list else "may have been learned for other classes"
            warnings.warn(f"the contexts of single classes (CSC) in {path} {other} than this run's", stacklevel=2)
        return loaded.epoch
