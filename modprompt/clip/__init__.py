"""CLIPs: which one a model is, its weights and texts; nothing of prompts."""
