"""Which file a setting of sentences about classes means: a path, ours, or that of the repositories for a data set."""

from pathlib import Path

from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.descriptions import Descriptions

TEMPLATE, DIGITS = "template", "digits"  # words that are not paths
FOLDER = "gpt_file"  # where the repositories keep theirs
_SHORT = {  # names in it that are not those of the data sets in lower case
    "Caltech101": "caltech",
    "DescribableTextures": "dtd",
    "FGVCAircraft": "fgvc",
    "ImageNetA": "imagenet_a",
    "ImageNetR": "imagenet_r",
    "ImageNetSketch": "imagenet_sketch",
    "OxfordFlowers": "oxford_flowers",
    "OxfordPets": "oxford_pets",
    "StanfordCars": "stanford_cars",
}
_OURS = {"Digits": DIGITS, "Mnist5k": DIGITS}


def read(setting: str, dataset: str) -> Descriptions | None:
    """The sentences that a setting means; None for a template.

    Args:
        setting: a path; template; digits; empty for the repositories' file of the data set, or else ours.
        dataset: its name.

    Raises:
        UserError: if there is no such file, or it holds something else.
    """
    if not setting:
        own = Path(FOLDER) / f"{_SHORT.get(dataset, dataset.lower())}_prompt.json"
        if not own.is_file() and dataset not in _OURS:
            raise UserError(
                f" is empty, and there is no {own} (folder {Path.cwd()}): give a JSON file "
                '{"class": ["sentence", ...]}, or template for the data set\'s template alone'
            )
        setting = str(own) if own.is_file() else _OURS[dataset]
    if setting == TEMPLATE:
        return None
    if setting == DIGITS:
        return descriptions.read_file(Path(__file__).with_name("digits_sentences.json"))
    try:
        return descriptions.read_file(Path(setting).expanduser())
    except FileNotFoundError:
        raise UserError(f": there is no file {setting} (folder {Path.cwd()})") from None
    except UserError as error:
        raise UserError(f": {error}") from None
