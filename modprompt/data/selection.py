"""Which images select the best checkpoint or the hyperparameters of a run, and what a result records about its images.

`images_for_selection` is the only function that decides this.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from modprompt.data.reader_facts import images_hash_of, is_few_shot, own_validation, reader_facts
from modprompt.io.result import AS_TRAINING, HELD_OUT, NOT_KNOWN, TEST, VALIDATION, WHOLE
from modprompt.io.settings import ALL, AS_MANY, FEW


def only_tests(cfg: Any) -> bool:
    """Return True if a run only tests; the configuration of a codebase may not have the setting TEST.ONLY."""
    return bool(getattr(cfg.TEST, "ONLY", False))


def _choose_by(cfg: Any) -> str:
    return str(getattr(cfg.DATASET, "CHOOSE_BY", ""))


def needs_validation(cfg: Any) -> bool:
    """Return True if a run needs validation images to start."""
    best = cfg.TEST.FINAL_MODEL == "best_val" or _choose_by(cfg) == AS_MANY
    selects = best or getattr(getattr(cfg, "SEARCH", None), "RUNS", False)
    return (selects and not only_tests(cfg)) or cfg.TEST.SPLIT == "val"


def uses_validation(cfg: Any) -> bool:
    """Return True if a run uses validation images to select or measure something."""
    return needs_validation(cfg) or bool(_choose_by(cfg) and not only_tests(cfg))


def validation_images(cfg: Any) -> str:
    """Return which validation images a method uses to select hyperparameters: FEW, ALL, AS_MANY, TEST or "".

    A method that selects and trains on all images also selects on ALL validation images.
    """
    by = _choose_by(cfg)
    if by == TEST:
        return by
    measured = by == FEW and only_tests(cfg)  # a test selects nothing
    return ALL if by and not measured and not is_few_shot(cfg) else by


def images_for_selection(cfg: Any, own_validation: bool, own_reader: bool = True) -> str:
    """Return the name of the images on which a run selects the best checkpoint or hyperparameters.

    Args:
        cfg: the configuration of the run.
        own_validation: whether the data set has validation images of its own.
        own_reader: whether a reader of this project reads the data set. A reader of another codebase holds no training
            images out, and gives the whole validation split.

    Returns:
        VALIDATION, WHOLE, AS_TRAINING, HELD_OUT or TEST, or "" if nothing is selected.
    """
    if not uses_validation(cfg):
        return ""
    kind = validation_images(cfg)
    if own_reader and kind == TEST:
        return TEST
    if own_validation:
        as_many = AS_TRAINING if own_reader else VALIDATION
        return {ALL: WHOLE, AS_MANY: as_many}.get(kind, VALIDATION)
    may_hold_out = own_reader and not cfg.DATASET.get("VAL_FROM_TEST", False)
    return HELD_OUT if may_hold_out else TEST


def selected_on(dataset: Any, cfg: Any) -> str:
    """Return the name of the images on which checkpoints or hyperparameters are selected; see images_for_selection."""
    decided = images_for_selection(cfg, own_validation(dataset), own_reader=False)
    return decided and (reader_facts(dataset).selected_on or decided)


def labels_of_choice(dataset: Any, cfg: Any) -> int:
    """Return the number of labelled validation images that are used to select checkpoints or hyperparameters."""
    selects = cfg.TEST.FINAL_MODEL == "best_val" or _choose_by(cfg)
    return len(dataset.val) if selects and selected_on(dataset, cfg) not in ("", TEST) else 0


def lists_of(dataset: Any, cfg: Any) -> Mapping[str, Sequence[Any]]:
    """Return the lists of images that influence the results of a run: "test", "training" and "validation"."""
    by_validation = cfg.TEST.SPLIT == "val" and bool(dataset.val)
    found: dict[str, Any] = {} if cfg.TEST.NO_TEST else {TEST: dataset.val if by_validation else dataset.test}
    if not only_tests(cfg):
        found["training"] = dataset.train_x
        if selected_on(dataset, cfg) not in ("", TEST):
            found[VALIDATION] = dataset.val
    return {name: images for name, images in found.items() if images}


def facts_of(dataset: Any, cfg: Any) -> dict[str, Any]:
    """Return the entries of result.json about the images: split, few-shot lists, hash of all images, and selection."""
    said, unknown = reader_facts(dataset), {"name": cfg.DATASET.NAME, "status": NOT_KNOWN, "hash": ""}
    return {
        "split": dict(said.split_facts or unknown),
        "few_shot": {"hash": said.few_shot_hash},
        "images_hash": images_hash_of(dataset, cfg),
        "selected_on": selected_on(dataset, cfg),
    }
