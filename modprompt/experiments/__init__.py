"""Experiments: many runs of `modprompt train` over data sets, methods and seeds, and a report of their results.

modprompt experiment run FILE      starts all runs that have not finished; it can be stopped and restarted at any time
modprompt experiment report FILE   writes tables (Markdown, CSV, LaTeX), figures and one HTML page

plan/        which runs an experiment file asks for
    file.py, section.py        read and check an experiment file
    methods.py, selected.py    its methods, and hyperparameters that were selected on validation images
    rounds.py                  the keys of active learning
    experiment.py              the checked experiment: methods and runs (jobs)
    first_stages.py            what may be trained before a method: a search, prompts or a teacher
    protocols.py               the runs of each protocol, their folders, and the columns that they fill
    commands.py, check.py      the command and the settings of a run, and the check of all settings
    inputs.py                  CLIP models and data sets on the disk
    arguments.py               the command-line arguments of all commands

running/     start the runs and follow them
    state.py                   the state of a run, from the files in its folder and its lock
    chains.py, forked.py       the runs of this machine: each run waits for the runs that it needs
    slurm.py                   the runs as jobs of a Slurm cluster
    run.py, status.py, stale.py   the commands `run` and `status`, and --redo-stale

reporting/   results of finished runs
    runs.py, logs.py           one pandas frame of all runs, also of the log files of other codebases
    tables.py, compare.py, cost.py, rounds.py, figures.py   tables and figures of this frame
    published.py, recorded.py, notes.py, origins.py         published results, stored tests, and sentences about them
    report.py, page.py         the command `report`: all files, and the HTML page
    choose.py                  the command `choose`, which selects hyperparameters
    tasks.py                   the mean of single runs
"""
