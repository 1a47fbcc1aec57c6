"""The made-up images as a data set in Dassl's registry, for codebases whose reader of EuroSAT refuses them."""

from pathlib import Path
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum


@DATASET_REGISTRY.register()
class ModpromptMadeUp(DatasetBase):  # type: ignore[misc]
    """Images in a folder for each class; the first of each is tested."""

    def __init__(self, cfg: Any) -> None:
        items: dict[str, list[Any]] = {"train": [], "test": []}
        folders = sorted(Path(str(cfg.DATASET.ROOT), "eurosat", "2750").iterdir())
        for label, folder in enumerate(folders[:5]):
            for part, path in zip(("test", "train"), sorted(folder.iterdir())):
                items[part].append(Datum(str(path), label, classname=folder.name))
        super().__init__(train_x=items["train"], val=items["test"], test=items["test"])
