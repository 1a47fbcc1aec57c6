"""See modprompt/data/readers/unlabelled.py."""

from modprompt.data.readers.unlabelled import Unlabelled  # noqa: F401
