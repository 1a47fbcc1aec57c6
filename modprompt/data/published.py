"""Facts about the family's published splits, compared with what a run reads.

Where the split file's hash is not known, the lists of 16 shots that seeds 1, 2 and 3 draw from it are.
"""

from collections.abc import Callable

from modprompt.io.result import NOT_KNOWN
from modprompt.output import say

PUBLISHED, OURS = "published", "ours"

# SHA-256 of the split files, by data set
SPLIT_SHA256 = {
    "Caltech101": "52ce83205ff8ff8a1a18119aad6376120ae35c36e783a984bc560cbf10e73fa5",
    "DescribableTextures": "f26ebeccd2b58e68d70f07a0dc39fe49bf7b69024bac34396b954dfd87969c38",
    "EuroSAT": "541503a77d0b26b735d85ec7a3e672804fe0aa466c2e5f07da772cc6c0af8ad2",
    "OxfordFlowers": "2f50c42fc1a17ca13c271cb4269b1347bdb43d2be672e34f74a4e4cbfbcca794",
    "OxfordPets": "d7f3ffe65b3919f95132e51422894ae18686b83c331fd8c0adcdc3dc2de6301e",
    "StanfordCars": "40acee7aa65c8e4727a32d90e884b7c3f8960b523422317e163f7af65432959d",
    "UCF101": "d78cb834f7c5792ceaff2c5ee2d7c76a9e4086e48a3a6b01232989d29cbefdd8",
}

SHOTS = 16
# first 12 digits of SHA-256 over lines "path TAB label TAB class name", training/validation, by data set and seed
FEW_SHOT_SHA256 = {
    "FGVCAircraft": {1: "fb8763bf7c6e/de2373913857", 2: "364c7d0d90b7/af4decfc56ed", 3: "f740dc0bebde/9108d013d0bc"},
    "Food101": {1: "c99ec199b131/05ded50572b5", 2: "234bc61f35c6/80d029515a68", 3: "088adedb7595/3ca86e4ebe3f"},
    "SUN397": {1: "9ac7879bf032/d0507aca242a", 2: "b833ee23fd9b/007510f5ad0d", 3: "c4696081a08a/e363170e396c"},
}

# classes of the published data sets
CLASSES = {
    "Caltech101": 100, "Caltech256": 257, "DescribableTextures": 47, "EuroSAT": 10, "FGVCAircraft": 100, "Food101": 101,
    "ImageNet": 1000, "ImageNetA": 200, "ImageNetR": 200, "ImageNetSketch": 1000, "ImageNetV2": 1000,
    "OxfordFlowers": 102, "OxfordPets": 37, "StanfordCars": 196, "SUN397": 397, "UCF101": 101
}  # fmt: skip

# published number of training, validation and test images, where there is one
SIZES: dict[str, tuple[int | None, int | None, int | None]] = {
    "Caltech101": (4128, 1649, 2465), "DescribableTextures": (2820, 1128, 1692), "EuroSAT": (13500, 5400, 8100),
    "FGVCAircraft": (3334, 3333, 3333), "Food101": (50500, 20200, 30300), "ImageNet": (1281167, None, 50000),
    "ImageNetA": (None, None, 7500), "ImageNetR": (None, None, 30000), "ImageNetSketch": (None, None, 50889),
    "ImageNetV2": (None, None, 10000), "OxfordFlowers": (4093, 1633, 2463), "OxfordPets": (2944, 736, 3669),
    "StanfordCars": (6509, 1635, 8041), "SUN397": (15880, 3970, 19850), "UCF101": (7639, 1898, 3783)
}  # fmt: skip


def class_facts(name: str, n_classes: int) -> dict[str, str]:
    """What a result says if a data set has other than its published number of classes, which is printed; or nothing."""
    known = CLASSES.get(name, n_classes)
    if n_classes == known:
        return {}
    say(
        f"note: {name} has {n_classes} classes in this run, but the published data set has {known}. Accuracies are "
        "not comparable with published results."
    )
    return {"classes": f"{n_classes} of {known} classes"}


def split_status(name: str, split_hash: str, ours: bool, few_shot: Callable[[int, int], str]) -> str:
    """The status of a data set's split, which has this SHA-256 in the form of the published files: PUBLISHED, OURS (if
    this project made it), or NOT_KNOWN. `few_shot` gives for shots and seed the hashes of the lists drawn from it,
    "training/validation".
    """
    if name in SPLIT_SHA256:
        as_published = split_hash == SPLIT_SHA256[name]
    else:
        known = FEW_SHOT_SHA256.get(name, {})
        as_published = bool(known) and all(few_shot(SHOTS, seed) == mine for seed, mine in known.items())
    if as_published:
        return PUBLISHED
    return OURS if ours else NOT_KNOWN
