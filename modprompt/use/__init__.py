"""Uses of learned prompts: predict, explain, export, show, share."""
