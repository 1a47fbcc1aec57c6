"""Where each data set comes from: facts. Addresses were taken from the publishers' pages, torchvision and the family's
instructions; sizes are those of the published splits.
"""

from __future__ import annotations

from modprompt.data.prepare.recipe import Archive, ByHand, File, Recipe
from modprompt.data.published import SPLIT_SHA256

_ROBOTS = "https://www.robots.ox.ac.uk/~vgg/data"
_CLASSNAMES = File("classnames.txt", drive="1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF")


def _split(name: str, drive: str) -> File:
    digest = SPLIT_SHA256.get(name)
    return File(f"split_zhou_{name}.json", drive=drive, digest=f"sha256:{digest}" if digest else "")


RECIPES = {
    "Caltech101": Recipe(
        "caltech-101",
        (
            _split("Caltech101", "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN"),
            Archive(
                "caltech-101.zip",
                # the archive holds another one
                {"caltech-101/101_ObjectCategories.tar.gz//101_ObjectCategories": "101_ObjectCategories"},
                url="https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                digest="md5:3138e1922a9193bfa496528edbbc45d0",
            ),
        ),
        (4128, 1649, 2465),
    ),
    "Caltech256": Recipe(
        "caltech-256",
        (
            Archive(
                "256_ObjectCategories.tar",
                {"256_ObjectCategories": "256_ObjectCategories"},
                url="https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
                digest="md5:67b4f42ca05d46448c6bb8ecd2220f6d",
            ),
        ),
    ),
    "DescribableTextures": Recipe(
        "dtd",
        (
            _split("DescribableTextures", "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x"),
            Archive(
                "dtd-r1.0.1.tar.gz",
                {"dtd/images": "images", "dtd/imdb": "imdb", "dtd/labels": "labels"},
                url=f"{_ROBOTS}/dtd/download/dtd-r1.0.1.tar.gz",
                digest="md5:fff73e5086ae6bdbea199a49dfb8a4c1",
            ),
        ),
        (2820, 1128, 1692),
    ),
    "EuroSAT": Recipe(
        "eurosat",
        (
            _split("EuroSAT", "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"),
            Archive(
                "EuroSAT.zip",
                {"2750": "2750"},
                url="https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                digest="md5:c8fa014336c82ac7804f0398fcb19387",
            ),
        ),
        (13500, 5400, 8100),
    ),
    "FGVCAircraft": Recipe(
        "fgvc_aircraft",
        (
            Archive(
                "fgvc-aircraft-2013b.tar.gz",
                {
                    f"fgvc-aircraft-2013b/data/{name}": name
                    for name in (
                        "images",
                        "variants.txt",
                        "images_variant_train.txt",
                        "images_variant_val.txt",
                        "images_variant_test.txt",
                    )
                },
                url=f"{_ROBOTS}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            ),
        ),
        (3334, 3333, 3333),
    ),
    "Food101": Recipe(
        "food-101",
        (
            _split("Food101", "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl"),
            Archive(
                "food-101.tar.gz",
                {"food-101/images": "images", "food-101/meta": "meta"},
                url="https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                digest="md5:85eeb15f3717b99a5da872d97d918f87",
            ),
        ),
        (50500, 20200, 30300),
    ),
    "ImageNet": Recipe(
        "imagenet",
        (
            _CLASSNAMES,
            ByHand(
                "images/train",
                "register at image-net.org, fetch ILSVRC2012_img_train.tar (md5 1d675b47d978889d74fa0da5fadfb00e) and "
                "unpack it, and each of the 1,000 archives in it, into {folder}/images/train/<wnid>/",
            ),
            ByHand(
                "images/val",
                "register at image-net.org, fetch ILSVRC2012_img_val.tar (md5 29b22e2961454d5413ddabcf34fc5622) and "
                "the devkit, and sort the images into {folder}/images/val/<wnid>/ (torchvision.datasets.ImageNet "
                "does that)",
            ),
        ),
        (1281167, None, 50000),
    ),
    "ImageNetA": Recipe(
        "imagenet-adversarial",
        (
            _CLASSNAMES,
            Archive(
                "imagenet-a.tar",
                {"imagenet-a": "imagenet-a"},
                url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
            ),
        ),
        (None, None, 7500),
    ),
    "ImageNetR": Recipe(
        "imagenet-rendition",
        (
            _CLASSNAMES,
            Archive(
                "imagenet-r.tar",
                {"imagenet-r": "imagenet-r"},
                url="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
            ),
        ),
        (None, None, 30000),
    ),
    "ImageNetSketch": Recipe(
        "imagenet-sketch",
        (_CLASSNAMES, Archive("ImageNet-Sketch.zip", {"sketch": "images"}, drive="1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA")),
        (None, None, 50889),
    ),
    "ImageNetV2": Recipe(
        "imagenetv2",
        (
            _CLASSNAMES,
            Archive(
                "imagenetv2-matched-frequency.tar.gz",
                {"imagenetv2-matched-frequency-format-val": "imagenetv2-matched-frequency-format-val"},
                url="https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
            ),
        ),
        (None, None, 10000),
    ),
    "OxfordFlowers": Recipe(
        "oxford_flowers",
        (
            _split("OxfordFlowers", "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT"),
            File(
                "cat_to_name.json",
                drive="1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0",
                digest="sha256:0469f1ad7fe0072d98155c49aa58649d998edbbe3326229003aa5f7228525236",
            ),
            File(
                "imagelabels.mat",
                url=f"{_ROBOTS}/flowers/102/imagelabels.mat",
                digest="md5:e0620be6f572b9609742df49c70aed4d",
            ),
            Archive(
                "102flowers.tgz",
                {"jpg": "jpg"},
                url=f"{_ROBOTS}/flowers/102/102flowers.tgz",
                digest="md5:52808999861908f626f3c1f4e79d11fa",
            ),
        ),
        (4093, 1633, 2463),
    ),
    "OxfordPets": Recipe(
        "oxford_pets",
        (
            _split("OxfordPets", "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs"),
            Archive(
                "images.tar.gz",
                {"images": "images"},
                url=f"{_ROBOTS}/pets/data/images.tar.gz",
                digest="md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
            ),
            Archive(
                "annotations.tar.gz",
                {"annotations": "annotations"},
                url=f"{_ROBOTS}/pets/data/annotations.tar.gz",
                digest="md5:95a8c909bbe2e81eed6a22bccdf3f68f",
            ),
        ),
        (2944, 736, 3669),
    ),
    "StanfordCars": Recipe(
        "stanford_cars",
        (
            _split("StanfordCars", "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"),
            *(
                ByHand(
                    target,
                    "the original at Stanford is gone since 2023; use a mirror named in pytorch/vision issue 7545 or "
                    "muzairkhattak/multimodal-prompt-learning issue 58, and put {target} into {folder}",
                )
                for target in ("cars_train", "cars_test")
            ),
        ),
        (6509, 1635, 8041),
    ),
    "SUN397": Recipe(
        "sun397",
        (
            _split("SUN397", "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq"),
            Archive(
                "SUN397.tar.gz",
                {"SUN397": "SUN397"},
                url="http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
                digest="md5:8ca2778205c41d23104230ba66911c7a",
                note="the original was reported dead in 2025 (KaiyangZhou/CoOp issue 90); "
                "opendatalab.com/OpenDataLab/SUN397 is named as a copy",
            ),
        ),
        (15880, 3970, 19850),
    ),
    "UCF101": Recipe(
        "ucf101",
        (
            _split("UCF101", "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y"),
            Archive(
                "UCF-101-midframes.zip",
                {"UCF-101-midframes": "UCF-101-midframes"},
                drive="10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O",
            ),
        ),
        (7639, 1898, 3783),
    ),
}
