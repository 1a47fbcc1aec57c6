"""The trainers of Tip-Adapter, without training and with trained keys; see modprompt/methods/heads/tip_adapter.py."""

from modprompt.trainers.registration import register

TipAdapter = register("TipAdapter")
TipAdapterF = register("TipAdapterF")
