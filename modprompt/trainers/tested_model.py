"""What a test takes from the training run whose model it tests: the settings of the model and of its images.

A checkpoint that cannot be read decides nothing here; the function that loads the checkpoint reports the error.
"""

from collections.abc import Mapping
from typing import Any

from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io import folder as run_folder
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.settings import READ_AS, TRAIN_ON_VAL, Settings, level_of
from modprompt.output import say
from modprompt.trainers.mode import Mode, method_of_trainer, tested_by, trains_nothing


def require_model(cfg: Any, mode: Mode) -> None:
    """Raise UserError if a trained model is to be tested but no --model-dir is given."""
    if mode.eval_only and not mode.model_dir and not trains_nothing(cfg):
        raise UserError(
            f"--eval-only with the trainer {cfg.TRAINER.NAME} needs a trained model. Set --model-dir to the output "
            "folder of a training run, or MODEL.INIT_WEIGHTS to a checkpoint file."
        )


def settings_of_training(cfg: Any, mode: Mode) -> Mapping[str, str]:
    """Return the settings of the training run of the tested model, or {} if they are unknown."""
    tested = tested_by(cfg, mode)
    try:
        made = checkpoint.read(checkpoint_at(tested, mode.load_epoch)).settings if tested else {}
    except (OSError, UserError):
        return {}
    return made if made.get("DATASET.NAME") == cfg.DATASET.NAME else {}


def decoding_of_training(cfg: Any, settings: Settings, mode: Mode) -> dict[str, Any]:
    """Return the value of INPUT.DECODING in the training run, or {} if the setting is explicit or equal."""
    if READ_AS in settings:
        return {}
    rule = settings_of_training(cfg, mode).get(READ_AS, cfg.INPUT.DECODING)
    if rule == cfg.INPUT.DECODING:
        return {}
    say(
        f"Images are decoded with {READ_AS} {rule}, as in the training run {tested_by(cfg, mode)}. The default for "
        "new runs is different."
    )
    return {READ_AS: rule}


def require_unseen_images(cfg: Any, mode: Mode) -> None:
    """Raise UserError if the test images are validation images on which the tested model was trained."""
    if cfg.TEST.SPLIT == "val" and settings_of_training(cfg, mode).get(TRAIN_ON_VAL) == "True":
        raise UserError(
            f"TEST.SPLIT val is not possible because the model in {tested_by(cfg, mode)} was trained on the validation "
            f"images ({TRAIN_ON_VAL} True). Set TEST.SPLIT to test."
        )


def method_settings(cfg: Any, settings: Settings, mode: Mode) -> dict[str, Any]:
    """Return the settings of the method in the tested checkpoint that differ from the configuration.

    Raises:
        UserError: if another value is set for a setting that decides what was learned.
    """
    method, found = method_of_trainer(cfg.TRAINER.NAME), {}
    kept = [] if method is None else [one for one in method.settings() if one.kept]
    if not kept or not tested_by(cfg, mode):
        return {}
    try:
        record = checkpoint.read(checkpoint_at(mode.model_dir, mode.load_epoch)).record
        values = method.kept_values(record["method"]["settings"], mode.model_dir)
        same_data = record["classes"].get("dataset") == cfg.DATASET.NAME
    except (OSError, UserError, LookupError):  # checkpoints of other repositories do not contain a record
        return {}
    for one in kept:
        key, value = f"{method.node}.{one.key}", values[one.field]
        mine = level_of(cfg, key)[0][one.key]
        if not one.compared and (not same_data or key in settings.on_command_line()):
            continue
        if one.compared and key in settings and mine != value:
            raise UserError(
                f"{settings[key].where}: {key} is {mine!r}, but the model in {mode.model_dir} was trained with "
                f"{value!r}. Remove {key}."
            )
        found.update({} if mine == value else {key: value})
    if found:
        say(f"Settings taken from the training run: {', '.join(f'{key} {value}' for key, value in found.items())}")
    return found


def place_of_result(cfg: Any, settings: Settings, mode: Mode) -> dict[str, Any]:
    """Return {"OUTPUT_DIR": FOLDER} with a separate folder if a test would write to the folder of the training run."""
    data = {key: cfg.DATASET[key] for key in ("NAME", "SUBSAMPLE_CLASSES", "ROOT")}
    place = run_folder.place_of_test(cfg.OUTPUT_DIR, tested_by(cfg, mode), mode.load_epoch, data, settings.texts())
    if place == cfg.OUTPUT_DIR:
        return {}
    say(f"note: {cfg.OUTPUT_DIR} contains the model to be tested, so the result of the test is written to {place}.")
    return {"OUTPUT_DIR": place}
