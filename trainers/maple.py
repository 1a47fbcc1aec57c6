"""The trainer of MaPLe; see modprompt/methods/maple.py."""

from modprompt.trainers.registration import register

MaPLe = register("MaPLe")
