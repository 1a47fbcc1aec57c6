"""The table of data sets, and what they are made of."""

from dassl.data.datasets.base_dataset import DATASET_REGISTRY, DatasetBase, Datum, build_dataset  # noqa: F401
