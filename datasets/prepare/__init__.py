"""Front of modprompt/data/prepare: `python -m datasets.prepare`."""
