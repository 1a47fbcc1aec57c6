"""What can be done with learned prompts."""
