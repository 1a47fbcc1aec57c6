"""Prompt tokens through two frozen encoders: schedules, class prompts, encoders, the model."""
