from modprompt.data.readers.imagenet import ImageNet  # noqa: F401
