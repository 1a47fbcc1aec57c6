"""Programs: flags, and what they start."""
