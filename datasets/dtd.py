from modprompt.data.readers.dtd import DescribableTextures  # noqa: F401
