"""The trainer of TaskRes; see modprompt/methods/taskres.py."""

from modprompt.trainers.registration import register

TaskRes = register("TaskRes")
