"""Heads on CLIP's features: modules from image and class features to logits, built from and fitted on a bank."""
