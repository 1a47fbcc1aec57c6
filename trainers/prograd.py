"""The trainer of ProGrad; see modprompt/methods/prograd.py."""

from modprompt.trainers.registration import register

ProGrad = register("ProGrad")
