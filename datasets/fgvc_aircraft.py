"""See modprompt/data/readers/fgvc_aircraft.py."""

from modprompt.data.readers.fgvc_aircraft import FGVCAircraft  # noqa: F401
