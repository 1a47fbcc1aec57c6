"""Which CLIP a model is, and what it knows; nothing of prompts."""
