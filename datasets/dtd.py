"""See modprompt/data/readers/dtd.py."""

from modprompt.data.readers.dtd import DescribableTextures  # noqa: F401
