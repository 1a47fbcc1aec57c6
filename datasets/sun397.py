"""See modprompt/data/readers/lists.py."""

from modprompt.data.readers.lists import SUN397  # noqa: F401
