"""Fronts of the trainers in modprompt/trainers; importing one registers it."""
