"""The former place of modprompt.storage.text."""

from modprompt.storage.text import PathLike, write_json, write_whole

__all__ = ["PathLike", "write_json", "write_whole"]
