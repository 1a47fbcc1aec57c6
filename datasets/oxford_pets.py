from modprompt.data.readers.oxford_pets import OxfordPets  # noqa: F401
