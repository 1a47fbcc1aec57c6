"""The trainer of DPL's train stage under the name of its repository; see modprompt/methods/dpl.py."""

from modprompt.trainers.registration import register

TrainerSubnet = register("TrainerSubnet")
