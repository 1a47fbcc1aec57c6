"""The trainer of CoCoOp; see modprompt/methods/cocoop.py."""

from modprompt.trainers.registration import register

CoCoOp = register("CoCoOp")
