"""A teacher that is another CLIP: loaded, with or without learned prompts, and losses on its logits."""
