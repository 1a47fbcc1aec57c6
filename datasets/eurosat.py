from modprompt.data.readers.eurosat import EuroSAT  # noqa: F401
