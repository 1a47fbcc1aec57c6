"""The trainer of CoOp; see modprompt/methods/coop.py."""

from modprompt.trainers.registration import register

CoOp = register("CoOp")
