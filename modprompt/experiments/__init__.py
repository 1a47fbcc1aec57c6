"""A paper's tables from one command: sweeps of train.py over data sets, methods and seeds, and their results.

modprompt experiment run FILE      runs what is not finished; stop and restart it at any time
modprompt experiment report FILE   tables (Markdown, CSV, LaTeX), figures and one HTML page of the finished runs

spec.py        reads and checks an experiment file; experiment.py: the result, its methods and runs
selected.py    hyperparameters that were selected on validation images; choose.py selects them
stages.py      what may be trained before a method: a search, a teacher, prompts
protocols.py   which runs a protocol is made of, and which table they fill
inputs.py      whether a result's CLIP, split and images are still those; present.py: which data sets are there
commands.py    a run as a command of train.py, and the settings that its result must show
state.py       the status of a run, by the files in its folder and its lock
chains.py      runs in chains of what builds on what, each under its lock; forked.py: as forks of what imported all
slurm.py       chains as jobs of a cluster
run.py, stale.py, status.py   the commands, and what a runner shows
runs.py, logs.py   the frame of all runs: ours, and those of other codebases' log files
tables.py, compare.py, cost.py, published.py, recorded.py, figures.py   what a report shows of the frame
notes.py, origins.py   the sentences below the tables, and where the numbers come from
rounds.py (in plan/ and reporting/)   active learning
report.py, page.py   the report's files and its page
"""
