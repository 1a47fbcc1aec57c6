"""The trainers of DPL, train stage and search stage; see modprompt/methods/dpl.py and modprompt/methods/dpl_search.py."""

from modprompt.trainers.registration import register

DPL = register("DPL")
DPLSearch = register("DPLSearch")
