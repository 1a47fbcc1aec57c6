"""The version, for files that record what made them; pyproject.toml reads it here."""

__version__ = "0.3.0"
