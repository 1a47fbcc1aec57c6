from modprompt.data.readers.digits import Digits  # noqa: F401
