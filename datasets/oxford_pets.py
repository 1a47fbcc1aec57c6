"""See modprompt/data/readers/oxford_pets.py."""

from modprompt.data.readers.oxford_pets import OxfordPets  # noqa: F401
