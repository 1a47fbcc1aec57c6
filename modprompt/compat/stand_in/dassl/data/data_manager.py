"""From a configuration to loaders over a data set."""

import torch
import torchvision.transforms as T
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dassl.data.datasets import build_dataset
from dassl.data.loaders import lasting_loader
from dassl.data.samplers import build_sampler
from dassl.data.transforms import INTERPOLATION_MODES, build_transform
from dassl.utils import read_image
from modprompt.io.image_files import rule_of


def build_data_loader(
    cfg,
    sampler_type="SequentialSampler",
    data_source=None,
    batch_size=64,
    n_domain=0,
    n_ins=2,
    tfm=None,
    is_train=True,
    dataset_wrapper=None,
):
    """A loader over a list of Datum; the last, partial batch is dropped in training unless it is the only one.

    Raises:
        ValueError: if there is no image.
    """
    if not data_source:
        raise ValueError(
            f"There are no {'training' if is_train else 'test'} images. Check DATASET.ROOT and the split file."
        )
    sampler = build_sampler(
        sampler_type, cfg=cfg, data_source=data_source, batch_size=batch_size, n_domain=n_domain, n_ins=n_ins
    )
    dataset = (dataset_wrapper or DatasetWrapper)(cfg, data_source, transform=tfm, is_train=is_train)
    settings = {
        "batch_size": batch_size,
        "sampler": sampler,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "drop_last": is_train and len(data_source) >= batch_size,
        "pin_memory": torch.cuda.is_available() and cfg.USE_CUDA,
    }
    if is_train and cfg.DATALOADER.NUM_WORKERS:
        return lasting_loader(dataset, **settings)
    return DataLoader(dataset, **settings)


class DatasetWrapper(Dataset):
    """Samples of a list of Datum: dicts of img, label, domain, impath, index.

    Args:
        cfg: configuration.
        data_source: list of Datum.
        transform: a transform, or a list of them (img, img2, img3, ...); None gives PIL images.
        is_train: of training: images are kept if DATALOADER.KEEP_IMAGES asks for it.
    """

    def __init__(self, cfg, data_source, transform=None, is_train=False):
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.rule = rule_of(cfg)
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        mode = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]
        steps = [T.Resize(list(cfg.INPUT.SIZE), interpolation=mode), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
        self.to_tensor = T.Compose(steps)
        self.kept = None
        if is_train and cfg.DATALOADER.KEEP_IMAGES:
            # decoded once, before workers are started: they share this memory
            told = tqdm(data_source, desc="decoding the training images", disable=None)
            self.kept = [read_image(item.impath, self.rule) for item in told]

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, idx):
        item = self.data_source[idx]
        image = read_image(item.impath, self.rule) if self.kept is None else self.kept[idx]
        sample = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        several = isinstance(self.transform, (list, tuple))
        for number, transform in enumerate(self.transform if several else [self.transform], start=1):
            sample["img" if number == 1 else f"img{number}"] = image if transform is None else transform(image)
        if self.return_img0:
            sample["img0"] = self.to_tensor(image)
        return sample


class DataManager:
    """The data set of a configuration, and its loaders (train_loader_u and val_loader may be None)."""

    def __init__(self, cfg, custom_tfm_train=None, custom_tfm_test=None, dataset_wrapper=None):
        dataset = build_dataset(cfg)
        tfm_train = build_transform(cfg, is_train=True) if custom_tfm_train is None else custom_tfm_train
        tfm_test = build_transform(cfg, is_train=False) if custom_tfm_test is None else custom_tfm_test

        def loader(source, node, tfm, is_train):
            return build_data_loader(
                cfg,
                sampler_type=node.SAMPLER,
                data_source=source,
                batch_size=node.BATCH_SIZE,
                n_domain=getattr(node, "N_DOMAIN", 0),
                n_ins=getattr(node, "N_INS", 2),
                tfm=tfm,
                is_train=is_train,
                dataset_wrapper=dataset_wrapper,
            )

        nodes = cfg.DATALOADER
        unlabelled = nodes.TRAIN_X if nodes.TRAIN_U.SAME_AS_X else nodes.TRAIN_U
        self.dataset = dataset
        self.train_loader_x = loader(dataset.train_x, nodes.TRAIN_X, tfm_train, True)
        self.train_loader_u = loader(dataset.train_u, unlabelled, tfm_train, True) if dataset.train_u else None
        self.val_loader = loader(dataset.val, nodes.TEST, tfm_test, False) if dataset.val else None
        self.test_loader = loader(dataset.test, nodes.TEST, tfm_test, False)
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    num_classes = property(lambda self: self.dataset.num_classes, doc="Number of classes.")
    num_source_domains = property(lambda self: self._num_source_domains, doc="Number of source domains.")
    lab2cname = property(lambda self: self.dataset.lab2cname, doc="Class name of each label.")

    def show_dataset_summary(self, cfg):
        """Print name and sizes."""
        rows = [("Dataset", cfg.DATASET.NAME)]
        rows += [("Source", cfg.DATASET.SOURCE_DOMAINS)] if cfg.DATASET.SOURCE_DOMAINS else []
        rows += [("Target", cfg.DATASET.TARGET_DOMAINS)] if cfg.DATASET.TARGET_DOMAINS else []
        rows += [("# classes", f"{self.num_classes:,}")]
        for name in ("train_x", "train_u", "val", "test"):
            items = getattr(self.dataset, name)
            rows += [(f"# {name}", f"{len(items):,}")] if items else []
        rule = f"{'-' * 9}  {'-' * 20}"
        print("\n".join([rule, *(f"{name:<9}  {value}" for name, value in rows), rule]))
