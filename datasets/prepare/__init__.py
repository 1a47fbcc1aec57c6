"""Front of modprompt/data/prepare."""
