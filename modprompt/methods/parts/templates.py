"""Prompt templates: facts of the family, as its papers and repositories use them.

The ensembles are selections from OpenAI's prompt engineering for ImageNet (CLIP, arXiv 2103.00020).
"""

from modprompt.errors import SettingError

DEFAULT = "a photo of a {}."

OF_DATASETS = {  # CoOp (arXiv 2109.01134); all other data sets have the default
    "OxfordPets": "a photo of a {}, a type of pet.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "Food101": "a photo of {}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
    "Digits": "a photo of the number {}.",
    "Mnist5k": "a photo of the number {}.",
}

KGCOOP = {**OF_DATASETS, "DescribableTextures": "a photo of a {}, a type of texture."}  # its teacher's

TCP = {  # its teacher's (arXiv 2311.18231)
    **KGCOOP,
    "FGVCAircraft": "a photo of an aircraft {}.",
    "Food101": "a photo of a {}, a type of food.",
}
TCP_DEFAULT = "X X X X {}."
TCP_LEARNED = {  # for the prompt that it learns: X stands for the context; all other data sets have its default
    "OxfordPets": "X X X X {}, a type of pet.",
    "OxfordFlowers": "X X X X {}, a type of flower.",
    "FGVCAircraft": "X X X X {}, a type of aircraft.",
    "DescribableTextures": "X X X X {} texture.",
    "StanfordCars": "X X X X {}, a type of car",
    "Food101": "X X X X {}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
    "ImageNet": "a photo of a {}.",
    "ImageNetV2": "a photo of a {}.",
    "ImageNetSketch": "a photo of a {}.",
    "ImageNetA": "a photo of a {}.",
    "ImageNetR": "a photo of a {}.",
}

DPL_CUSTOM = (
    PROGRAD
) = {  # DPL's for its CTX_INIT custom (arXiv 2501.00457), ProGrad's (arXiv 2205.14865); all others the default
    "OxfordPets": "a type of pet, a photo of a {}.",
    "OxfordFlowers": "a type of flower, a photo of a {}.",
    "FGVCAircraft": "a type of aircraft, a photo of a {}.",
    "DescribableTextures": "a texture of {}.",
    "EuroSAT": "a centered satellite photo of {}.",
    "Food101": "a type of food, a photo of {}.",
    "UCF101": "a photo of a person doing {}.",
    "Digits": "a photo of the number {}.",  # ours, like the next
    "Mnist5k": "a photo of the number {}.",
}

SELECTED = (  # the seven of ZeroshotCLIP2
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

_ARTICLES = ("a", "the")
_WITH_EITHER_ARTICLE = (  # @ is the article
    "a bad photo of @ {}.",
    "a sculpture of @ {}.",
    "a photo of @ hard to see {}.",
    "a low resolution photo of @ {}.",
    "a rendering of @ {}.",
    "a cropped photo of @ {}.",
    "@ embroidered {}.",
    "a bright photo of @ {}.",
    "a photo of @ clean {}.",
    "a photo of @ dirty {}.",
    "@ plastic {}.",
    "a close-up photo of @ {}.",
    "a painting of @ {}.",
    "a pixelated photo of @ {}.",
    "a blurry photo of @ {}.",
    "a photo of @ {}.",
    "@ {} in a video game.",
    "a doodle of @ {}.",
    "@ origami {}.",
    "a sketch of @ {}.",
    "a rendition of @ {}.",
)
_WITH_ONE = (
    "a photo of many {}.",
    "graffiti of a {}.",
    "a tattoo of a {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "a photo of the cool {}.",
    "a black and white photo of the {}.",
    "a jpeg corrupted photo of a {}.",
    "a good photo of the {}.",
    "a photo of one {}.",
    "the toy {}.",
    "a photo of a large {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a cartoon {}.",
    "art of a {}.",
    "itap of the {}.",
)
DIVERSE = (  # the sixty of PromptSRC (arXiv 2307.06948), for its frozen class features
    *(template.replace("@", article) for template in _WITH_EITHER_ARTICLE for article in _ARTICLES),
    *_WITH_ONE,
)


def require_place(key: str, template: str) -> None:
    """Raise SettingError unless a template, if there is one, has a place for the name; `key` is its setting."""
    if template and "{}" not in template:
        raise SettingError([(key, f" must contain {{}} in place of the class name, got {template!r}.")])
