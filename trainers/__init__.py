"""Trainers of this project; importing one registers it and its config defaults."""
