"""The trainer of DPL's search stage under the name of its repository; see modprompt/methods/search/dpl_search.py."""

from modprompt.trainers.registration import register

TrainerSupernet = register("TrainerSupernet")
