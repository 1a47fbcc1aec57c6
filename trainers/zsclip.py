"""The trainers of zero-shot CLIP; see modprompt/methods/zeroshot.py."""

from modprompt.trainers.registration import register

ZeroshotCLIP = register("ZeroshotCLIP", __name__)
ZeroshotCLIP2 = register("ZeroshotCLIP2", __name__)
