"""A teacher that is another CLIP: loaded, with or without learned prompts, and what a student makes of its logits."""
