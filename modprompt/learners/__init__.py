"""Prompt learners: what is trained, and how the prompts of both encoders come out of it."""
