"""Record what the reference's readers return on the trees of trees.py, into reference_lists.json.

    PYTHONPATH=<Dassl.pytorch>:<reference repository> python tests/modprompt/data/record_reference.py <reference repository>

Run once by a developer, with a checkout of the reference and the real Dassl; none of their code is in this project.
Folders are listed sorted, so that the lists do not depend on a file system.
"""

import importlib
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [sys.argv[1], str(HERE)]
import dassl.utils  # noqa: E402
import trees  # type: ignore[import-not-found]  # noqa: E402 - this program runs without the package `tests`
from dassl.config import get_cfg_default  # noqa: E402

plain = dassl.utils.listdir_nohidden
dassl.utils.listdir_nohidden = lambda path, sort=False: plain(path, sort=True)
from dassl.data.datasets import build_dataset  # noqa: E402


def read(name, root, shots, half):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = name, str(root), shots, trees.SEED
    cfg.DATASET.SUBSAMPLE_CLASSES = half
    random.seed(trees.SEED)
    dataset = build_dataset(cfg)
    lists = (dataset.train_x, dataset.val, dataset.test)
    return [items and [[os.path.relpath(i.impath, root), i.label, i.classname] for i in items] for items in lists]


recorded = {}
for module, (make, name, folder, split_file) in trees.DATA_SETS.items():
    importlib.import_module(f"datasets.{module}")
    variant = module.startswith("imagenet") and module != "imagenet"
    for how in ("raw", "split file") if split_file else ("raw",):
        root = Path(tempfile.mkdtemp()).resolve()
        make(root)
        if how == "split file":
            read(name, root, -1, "all")  # which makes it
        for shots in trees.SHOTS[:1] if variant else trees.SHOTS:
            for half in trees.HALVES[:1] if variant else trees.HALVES:
                if how == "raw" and split_file:
                    (root / folder / split_file).unlink(missing_ok=True)
                shutil.rmtree(root / folder / "split_fewshot", ignore_errors=True)
                recorded[f"{module} {how} {shots} {half}"] = read(name, root, shots, half)
        shutil.rmtree(root)
names = sorted({row[0] for lists in recorded.values() for items in lists for row in items or []})
index = {name: number for number, name in enumerate(names)}
cases = {}
for key, lists in recorded.items():  # class names once per case and label, files by their numbers
    rows = [row for items in lists for row in items or []]
    numbers = [items and [[index[path], label] for path, label, _ in items] for items in lists]
    cases[key] = {"names": {str(label): classname for _, label, classname in rows}, "lists": numbers}
print(len(cases), "cases", len(names), "files")
(HERE / "reference_lists.json").write_text(json.dumps({"files": names, "cases": cases}))
