"""Teachers, as other packages see them."""

from collections.abc import Mapping, Sequence
from typing import Any

from modprompt.errors import UserError
from modprompt.feature import Feature, FirstStage, features
from modprompt.methods.table import BY_NAME, beside_of, row_of

_TOLERANCE = 1e-6


class TeachersFeature(Feature):
    """Methods with a teacher that is another CLIP."""

    name = "teachers"
    stage = FirstStage(
        key="teacher_from",
        names_method=True,
        name="the training of its teacher",
        plural="teachers",
        without="teachers that it trains: name a checkpoint",
        seconds="the training of its teacher",
    )

    def check(self, cfg: Any) -> None:
        """Complain about images that a teacher cannot use, and about training settings that exclude one."""
        from modprompt.methods.teachers.teacher import Taught
        from modprompt.methods.together import JOINING, asked

        name = cfg.TRAINER.NAME
        mine = [row_of(name).method] if name in BY_NAME else []
        for method in (*mine, *(beside_of(JOINING[node].name).method for node in asked(cfg.TRAINER, name))):
            if issubclass(method, Taught):
                _check_run(cfg, method)

    def fault_of_stage(self, trainer: str, keys: Sequence[str], settings: Mapping[str, str]) -> str:
        """Only a trainer with a teacher can have its teacher trained, and only if none is set."""
        if not _taught_nodes(trainer, settings):
            return f"{trainer} has no teacher: use PromptKD, or prompts with TRAINER.KDPL.ON True"
        given = [key for key in keys if self.finds(key)]
        return f"{given[0]} is set, but it is to be trained" if given else ""

    def finds(self, key: str) -> bool:
        """Whether a key sets the teacher's prompts."""
        return key.endswith(".TEACHER_CKPT")

    def handed_on(self, folder: Any, trainer: str, settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The teacher's prompts."""
        return tuple((f"{node}.TEACHER_CKPT", str(folder)) for node in _taught_nodes(trainer, settings))


def _taught_nodes(trainer: str, settings: Mapping[str, str]) -> list[str]:
    """The nodes under which a trainer with settings, as text, has a teacher."""
    own = ["TRAINER.PROMPTKD"] if trainer == "PromptKD" else []
    return own + (["TRAINER.KDPL"] if settings.get("TRAINER.KDPL.ON") == "True" else [])


def _check_run(cfg: Any, method: Any) -> None:
    from modprompt.clip.load import images_of
    from modprompt.clip.source import asked_of

    node = cfg.TRAINER[method.node_name()]
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        raise UserError("INPUT.TRANSFORMS has no 'normalize': the teacher's images are made from normalised ones")
    images = images_of(asked_of(cfg.config.backbone))
    for key, own in (("PIXEL_MEAN", images.mean), ("PIXEL_STD", images.std)):
        if any(abs(mine - one) > _TOLERANCE for mine, one in zip(cfg.INPUT[key], own)):
            raise UserError(
                f"INPUT.{key} is {list(cfg.INPUT[key])}, but the student's is {list(own)}, from which the teacher's "
                "images are made: leave it out"
            )
    if cfg.TEST.ONLY:
        return
    if any(one.labels_later(cfg) for one in features()):
        raise UserError(f"{method.__name__} reads no labels: it does not work in rounds that ask for labels")
    if "MODAL" in node:
        _check_training(cfg, node)


def _check_training(cfg: Any, node: Any) -> None:
    if cfg.DATALOADER.TRAIN_X.BATCH_SIZE < 2:
        raise UserError("DATALOADER.TRAIN_X.BATCH_SIZE must be at least 2: the projector needs a batch's statistics")
    if node.MODAL == "base2novel" and cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        raise UserError(
            f"{cfg.TRAINER.NAME} with MODAL base2novel trains on images of all classes and tests base and new ones: "
            "leave DATASET.SUBSAMPLE_CLASSES all"
        )
    if node.MODAL == "base2novel" and (cfg.TEST.SPLIT, cfg.TEST.FINAL_MODEL) == ("val", "best_val"):
        raise UserError("TEST.SPLIT val with best_val: an epoch would be chosen by images of new classes")
    if node.CHOOSE_ON and cfg.TEST.FINAL_MODEL != "best_val":
        raise UserError("CHOOSE_ON test has no effect without TEST.FINAL_MODEL best_val: the last epoch is tested")


FEATURE = TeachersFeature()
