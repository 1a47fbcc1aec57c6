"""Evaluators: they collect logits and labels, and print the result."""

from dassl.evaluation.evaluator import EVALUATOR_REGISTRY, Classification, build_evaluator  # noqa: F401
