"""See modprompt/data/readers/image_folder.py."""

from modprompt.data.readers.image_folder import ImageFolder  # noqa: F401
