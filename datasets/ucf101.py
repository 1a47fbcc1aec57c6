"""See modprompt/data/readers/lists.py."""

from modprompt.data.readers.lists import UCF101  # noqa: F401
