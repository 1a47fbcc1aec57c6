"""The trainer of TCP; see modprompt/methods/tcp.py."""

from modprompt.trainers.registration import register

TCP = register("TCP")
