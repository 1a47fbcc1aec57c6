"""The trainer of MPL; see modprompt/methods/mpl.py. Importing this module registers it."""

from modprompt.trainers.registration import register

MPL = register("MPL")
