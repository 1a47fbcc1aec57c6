"""The default values, as a yacs node. A key that is not here (or added by a trainer) cannot be set."""

from modprompt.compat.defaults import DEFAULTS

_C = DEFAULTS.clone()
