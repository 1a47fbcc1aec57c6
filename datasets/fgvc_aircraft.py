from modprompt.data.readers.fgvc_aircraft import FGVCAircraft  # noqa: F401
