"""The trainers of Tip-Adapter, as it is and with keys trained; see modprompt/methods/heads/tip_adapter.py."""

from modprompt.trainers.registration import register

TipAdapter = register("TipAdapter")
TipAdapterF = register("TipAdapterF")
