"""The campaign: what this project survives, tried from a seed and counted. `make campaign` runs it."""
