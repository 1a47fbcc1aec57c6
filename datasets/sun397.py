"""See modprompt/data/readers/sun397.py."""

from modprompt.data.readers.sun397 import SUN397  # noqa: F401
