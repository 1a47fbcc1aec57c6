from modprompt.data.readers.oxford_flowers import OxfordFlowers  # noqa: F401
