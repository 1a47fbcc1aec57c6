"""See modprompt/data/readers/folders.py."""

from modprompt.data.readers.folders import DescribableTextures  # noqa: F401
