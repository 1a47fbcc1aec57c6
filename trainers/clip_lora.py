"""The trainer of CLIPLoRA; see modprompt/methods/clip_lora.py."""

from modprompt.trainers.registration import register

CLIPLoRA = register("CLIPLoRA")
