"""The result of a run as data: result.json, written whole at the end of a test, the mark of a finished run."""

import os
import platform
import time

import torch

from modprompt.files import write_json

FILE_NAME = "result.json"


class ResultRecorder:
    """Keeps what a trainer's evaluator returned last.

    Args:
        trainer: a trainer with an `evaluator`.
    """

    def __init__(self, trainer):
        self.results = None
        self.started = time.time()
        evaluate = trainer.evaluator.evaluate

        def recorded():
            self.results = evaluate()
            return self.results

        trainer.evaluator.evaluate = recorded

    def write(self, cfg, evaluated: str, images: int) -> str:
        """Write result.json into cfg.OUTPUT_DIR.

        Args:
            cfg: the run's configuration.
            evaluated: which checkpoint was tested, if the run did not train it.
            images: number of images tested.

        Returns:
            The path of the file, or "" if nothing was tested.
        """
        if self.results is None:
            return ""
        content = {
            "trainer": cfg.TRAINER.NAME,
            "dataset": cfg.DATASET.NAME,
            "backbone": cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME,
            "seed": cfg.SEED,
            "shots": cfg.DATASET.NUM_SHOTS,
            "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
            "split": cfg.TEST.SPLIT,
            "evaluated": evaluated,
            "images": images,
            **{f"{name}_pct": float(value) for name, value in self.results.items()},
            "elapsed_s": round(time.time() - self.started, 1),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() and cfg.USE_CUDA else "cpu",
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        path = os.path.join(cfg.OUTPUT_DIR, FILE_NAME)
        write_json(path, content)
        return path
