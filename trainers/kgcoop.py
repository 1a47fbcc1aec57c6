"""The trainer of KgCoOp; see modprompt/methods/kgcoop.py."""

from modprompt.trainers.registration import register

KgCoOp = register("KgCoOp")
