"""See modprompt/data/readers/lists.py."""

from modprompt.data.readers.lists import FGVCAircraft  # noqa: F401
