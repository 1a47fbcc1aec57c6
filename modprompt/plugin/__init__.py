"""The Dassl side: config defaults, and the trainer that prompt-learning methods share."""
