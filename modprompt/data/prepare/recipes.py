"""Where each data set comes from: facts. Addresses were taken from the publishers' pages, torchvision and the family's
instructions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from modprompt.data.published import SPLIT_SHA256

DRIVE = "https://drive.google.com/file/d/"  # before the id of a file on Google Drive
_ROBOTS, _HUB = "https://www.robots.ox.ac.uk/~vgg/data", "https://huggingface.co/datasets"
_CALTECH, _BERKELEY = "https://data.caltech.edu/records", "https://people.eecs.berkeley.edu/~hendrycks"


class Step(NamedTuple):
    """A file of the tree, or an archive of which parts become parts of the tree.

    Attributes:
        name: path of the file below the data set's folder, or name of the archive.
        url: where it is downloaded from; empty if no program can: it is gone, or needs a registration.
        digest: "md5:..." or "sha256:..." of what is published, or "" if none is known.
        moves: {path inside the archive: path below the data set's folder}, empty for a file; `inner.tar//path` is in an
            archive inside it.
        note: what to tell a user whose download fails; without an address, what to fetch and where to put it.
    """

    name: str
    url: str = ""
    digest: str = ""
    moves: Mapping[str, str] = {}
    note: str = ""

    @property
    def targets(self) -> list[str]:
        """Paths below the data set's folder that are there once it is done."""
        return [*self.moves.values()] or [self.name]


# of what is published, where one is known
_DIGESTS = {
    **{f"split_zhou_{name}.json": f"sha256:{digest}" for name, digest in SPLIT_SHA256.items()},
    "256_ObjectCategories.tar": "md5:67b4f42ca05d46448c6bb8ecd2220f6d",
    "102flowers.tgz": "md5:52808999861908f626f3c1f4e79d11fa",
    "annotations.tar.gz": "md5:95a8c909bbe2e81eed6a22bccdf3f68f",
    "caltech-101.zip": "md5:3138e1922a9193bfa496528edbbc45d0",
    "cat_to_name.json": "sha256:0469f1ad7fe0072d98155c49aa58649d998edbbe3326229003aa5f7228525236",
    "dtd-r1.0.1.tar.gz": "md5:fff73e5086ae6bdbea199a49dfb8a4c1",
    "EuroSAT.zip": "md5:c8fa014336c82ac7804f0398fcb19387",
    "food-101.tar.gz": "md5:85eeb15f3717b99a5da872d97d918f87",
    "imagelabels.mat": "md5:e0620be6f572b9609742df49c70aed4d",
    "images.tar.gz": "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
    "SUN397.tar.gz": "md5:8ca2778205c41d23104230ba66911c7a",
}


def _drive(name: str, identity: str, moves: Mapping[str, str] = {}) -> Step:
    return Step(name, DRIVE + identity, _DIGESTS.get(name, ""), moves)


def _archive(url: str, paths: str, note: str = "") -> Step:
    """An archive of these paths, which go into the data set's folder under the last part of their names."""
    name, moves = url.rpartition("/")[2], {path: path.rpartition("/")[2] for path in paths.split()}
    return Step(name, url, _DIGESTS.get(name, ""), moves, note)


_CLASSNAMES = _drive("classnames.txt", "1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF")
_AIRCRAFT = ("images", "variants.txt", "images_variant_train.txt", "images_variant_val.txt", "images_variant_test.txt")
_LABELS = Step("imagelabels.mat", f"{_ROBOTS}/flowers/102/imagelabels.mat", _DIGESTS["imagelabels.mat"])
_CARS = (
    "The original download at Stanford has been offline since 2023. Download a mirror from pytorch/vision issue 7545 "
    "or muzairkhattak/multimodal-prompt-learning issue 58, and put {target} into {folder}."
)
_IMAGENET_TRAIN = (
    "Register at image-net.org, download ILSVRC2012_img_train.tar (md5 1d675b47d978889d74fa0da5fadfb00e), and unpack "
    "each of the 1,000 archives inside the file into {folder}/images/train/<wnid>/."
)
_IMAGENET_VAL = (
    "Register at image-net.org, download ILSVRC2012_img_val.tar (md5 29b22e2961454d5413ddabcf34fc5622) and the devkit, "
    "and sort the images into {folder}/images/val/<wnid>/ (torchvision.datasets.ImageNet can sort the images)."
)
_SUN = (
    "The original download may be offline. KaiyangZhou/CoOp issue 90 (2025) lists opendatalab.com/OpenDataLab/SUN397 "
    "as a copy."
)

RECIPES = {
    "Caltech101": [
        _drive("split_zhou_Caltech101.json", "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN"),
        _archive(
            f"{_CALTECH}/mzrjq-6wc02/files/caltech-101.zip",
            "caltech-101/101_ObjectCategories.tar.gz//101_ObjectCategories",
        ),
    ],
    "Caltech256": [_archive(f"{_CALTECH}/nyy15-4j048/files/256_ObjectCategories.tar", "256_ObjectCategories")],
    "DescribableTextures": [
        _drive("split_zhou_DescribableTextures.json", "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x"),
        _archive(f"{_ROBOTS}/dtd/download/dtd-r1.0.1.tar.gz", "dtd/images dtd/imdb dtd/labels"),
    ],
    "EuroSAT": [
        _drive("split_zhou_EuroSAT.json", "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"),
        _archive(f"{_HUB}/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip", "2750"),
    ],
    "FGVCAircraft": [
        _archive(
            f"{_ROBOTS}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            " ".join(f"fgvc-aircraft-2013b/data/{name}" for name in _AIRCRAFT),
        )
    ],
    "Food101": [
        _drive("split_zhou_Food101.json", "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl"),
        _archive("https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "food-101/images food-101/meta"),
    ],
    "ImageNet": [_CLASSNAMES, Step("images/train", note=_IMAGENET_TRAIN), Step("images/val", note=_IMAGENET_VAL)],
    "ImageNetA": [_CLASSNAMES, _archive(f"{_BERKELEY}/imagenet-a.tar", "imagenet-a")],
    "ImageNetR": [_CLASSNAMES, _archive(f"{_BERKELEY}/imagenet-r.tar", "imagenet-r")],
    "ImageNetSketch": [
        _CLASSNAMES,
        _drive("ImageNet-Sketch.zip", "1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA", {"sketch": "images"}),
    ],
    "ImageNetV2": [
        _CLASSNAMES,
        _archive(
            f"{_HUB}/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
            "imagenetv2-matched-frequency-format-val",
        ),
    ],
    "OxfordFlowers": [
        _drive("split_zhou_OxfordFlowers.json", "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT"),
        _drive("cat_to_name.json", "1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0"),
        _LABELS,
        _archive(f"{_ROBOTS}/flowers/102/102flowers.tgz", "jpg"),
    ],
    "OxfordPets": [
        _drive("split_zhou_OxfordPets.json", "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs"),
        _archive(f"{_ROBOTS}/pets/data/images.tar.gz", "images"),
        _archive(f"{_ROBOTS}/pets/data/annotations.tar.gz", "annotations"),
    ],
    "StanfordCars": [
        _drive("split_zhou_StanfordCars.json", "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"),
        Step("cars_train", note=_CARS),
        Step("cars_test", note=_CARS),
    ],
    "SUN397": [
        _drive("split_zhou_SUN397.json", "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq"),
        _archive("http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", "SUN397", _SUN),
    ],
    "UCF101": [
        _drive("split_zhou_UCF101.json", "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y"),
        _drive(
            "UCF-101-midframes.zip", "10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O", {"UCF-101-midframes": "UCF-101-midframes"}
        ),
    ],
}
