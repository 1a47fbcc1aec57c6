"""The trainers of DePT's repository, methods with its head beside their prompts; see modprompt/methods/dept.py."""

from modprompt.trainers.registration import register

ExtrasLinearProbeCoOp = register("ExtrasLinearProbeCoOp")
ExtrasLinearProbeCoCoOp = register("ExtrasLinearProbeCoCoOp")
ExtrasLinearProbeKgCoOp = register("ExtrasLinearProbeKgCoOp")
ExtrasLinearProbeMaPLe = register("ExtrasLinearProbeMaPLe")
