"""A paper's tables from one command: sweeps of train.py over data sets, methods and seeds, and what came of them.

modprompt experiment run FILE      runs what is not finished; stop it and start it at will
modprompt experiment report FILE   tables (Markdown, CSV, LaTeX), figures and one HTML page of what is done

spec.py        an experiment file, read and checked; experiment.py, method.py: what it is then
chosen.py      settings that were chosen by validation images, as a file; choose.py: by which rule
protocols.py   which runs a protocol is made of, and which table they fill
commands.py    a run as a command of train.py, and the settings that its result must show
state.py       how a run stands, told by the files in its folder and by its lock
worker.py      one run under its lock: the same for every launcher
service.py     a process that does one run after the other: modprompt/cli/warm.py
local.py, slurm.py   launchers
runner.py      what is started when
results.py, logs.py, trees.py   what came out: ours, and that of other codebases' log files
cost.py        what methods cost, and what came of their searches
table.py, render.py, page.py, finding.py   a report; figures/: a file for each figure, layout.py is how they look

Protocols and first stages that features add are planned and reported by these (modprompt/feature.py).
"""
