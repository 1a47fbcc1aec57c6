from modprompt.data.readers.sun397 import SUN397  # noqa: F401
