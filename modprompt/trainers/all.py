"""Importing this module registers the trainers of all methods."""

from modprompt.trainers.registration import register_all

register_all()
