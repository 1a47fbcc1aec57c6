"""Importing this module registers every method's trainer."""

import modprompt.trainers.cocoop
import modprompt.trainers.coop
import modprompt.trainers.ivlp
import modprompt.trainers.maple
import modprompt.trainers.mpl
import modprompt.trainers.promptsrc
import modprompt.trainers.vpt
import modprompt.trainers.zsclip  # noqa: F401
