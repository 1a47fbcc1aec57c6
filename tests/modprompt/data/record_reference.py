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
sys.path.insert(0, str(HERE))
import trees  # type: ignore[import-not-found]  # noqa: E402 - this program runs without the package `tests`


def facts(items, root):
    return None if items is None else [[os.path.relpath(i.impath, root), i.label, i.classname] for i in items]


def main():
    sys.path.insert(0, sys.argv[1])
    import dassl.utils
    from dassl.config import get_cfg_default

    plain = dassl.utils.listdir_nohidden
    dassl.utils.listdir_nohidden = lambda path, sort=False: plain(path, sort=True)
    from dassl.data.datasets import build_dataset

    recorded = {}
    for module, (make, name, folder, split_file) in trees.DATA_SETS.items():
        importlib.import_module(f"datasets.{module}")
        variant = module.startswith("imagenet") and module != "imagenet"
        for with_split in (False, True) if split_file else (False,):
            root = Path(tempfile.mkdtemp()).resolve()
            make(root)

            def read(shots, half, name=name, root=root):
                cfg = get_cfg_default()
                cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = name, str(root), shots, trees.SEED
                cfg.DATASET.SUBSAMPLE_CLASSES = half
                random.seed(trees.SEED)
                return build_dataset(cfg)

            if with_split:
                read(-1, "all")  # makes the split file
            for shots in trees.SHOTS[:1] if variant else trees.SHOTS:
                for half in trees.HALVES[:1] if variant else trees.HALVES:
                    if not with_split and split_file and (root / folder / split_file).exists():
                        (root / folder / split_file).unlink()
                    shutil.rmtree(root / folder / "split_fewshot", ignore_errors=True)
                    d = read(shots, half)
                    key = f"{module} {'split file' if with_split else 'raw'} {shots} {half}"
                    recorded[key] = [facts(items, root) for items in (d.train_x, d.val, d.test)]
            shutil.rmtree(root)
    names = sorted({row[0] for lists in recorded.values() for items in lists for row in items or []})
    index = {name: number for number, name in enumerate(names)}
    cases = {}
    for key, lists in recorded.items():  # class names once per case and label, files by their numbers
        rows = [row for items in lists for row in items or []]
        cases[key] = {
            "names": {str(label): cname for _, label, cname in rows},
            "lists": [items and [[index[path], label] for path, label, _ in items] for items in lists],
        }
    print(len(cases), "cases", len(names), "files")
    (HERE / "reference_lists.json").write_text(json.dumps({"files": names, "cases": cases}))


if __name__ == "__main__":
    main()
