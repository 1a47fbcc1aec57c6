"""The trainers of zero-shot CLIP; see modprompt/methods/zeroshot.py."""

from modprompt.trainers.registration import register

ZeroshotCLIP = register("ZeroshotCLIP")
ZeroshotCLIP2 = register("ZeroshotCLIP2")
