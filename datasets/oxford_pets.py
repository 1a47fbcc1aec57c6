"""See modprompt/data/readers/lists.py."""

from modprompt.data.readers.lists import OxfordPets  # noqa: F401
