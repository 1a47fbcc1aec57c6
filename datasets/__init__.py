"""Fronts of the readers in modprompt/data/readers."""
