"""The trainer of TaskRes; see modprompt/methods/heads/taskres.py."""

from modprompt.trainers.registration import register

TaskRes = register("TaskRes")
