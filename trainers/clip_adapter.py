"""The trainer of CLIP-Adapter; see modprompt/methods/heads/clip_adapter.py."""

from modprompt.trainers.registration import register

CLIP_Adapter = register("CLIP_Adapter")
