"""The trainers of DPL's two stages; see modprompt/methods/dpl.py and modprompt/methods/search/dpl_search.py."""

from modprompt.trainers.registration import register

DPL = register("DPL")
DPLSearch = register("DPLSearch")
