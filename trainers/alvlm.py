"""The trainer of PCB's repository, CoOp in rounds of choosing labels; see modprompt/active/alvlm.py."""

from modprompt.trainers.registration import register

ALVLM = register("ALVLM")
