"""Experiments of runs that take no time: their command is a small program that behaves like train.py."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.commands import expected_settings
from modprompt.experiments.running import chains, slurm, state
from modprompt.io import figures
from modprompt.io.settings import settings_hash
from tests.modprompt.experiments.fakes import embedded_clip, schedules

PROGRAM = """
import fcntl, hashlib, json, os, sys, time
folder, settings, more = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
lock = open(os.path.join(folder, "job", "lock"), "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
with open(os.path.join(folder, "starts.txt"), "a") as file:
    file.write(f"{os.getpid()}\\n")
print("epoch [1/2] batch [3/4] time 0.1 (0.1) data 0.0 (0.0) loss 0.5000 (0.6000) lr 1.0000e-05 eta 0:00:07")
time.sleep(more.get("seconds", 0.1))
if "asks" in more:  # for so many labels, as a run with rounds does
    rounds = os.path.join(folder, "rounds")
    os.makedirs(rounds, exist_ok=True)
    if not os.path.exists(os.path.join(rounds, "round_1.csv")):
        with open(os.path.join(rounds, "round_1.csv"), "w") as file:
            file.write("rank,label\\n" + "".join(f"{rank},\\n" for rank in range(more["asks"])))
    with open(os.path.join(rounds, "round_1.csv")) as file:
        missing = sum(line.rstrip().endswith(",") for line in file)
    waiting = os.path.join(rounds, "waiting.json")
    if missing:
        with open(waiting, "w") as file:
            json.dump({"round": 1, "file": "round_1.csv", "missing": missing, "of": more["asks"]}, file)
        sys.exit(3)
    if os.path.exists(waiting):
        os.remove(waiting)
if "error" in more:
    sys.exit("error: " + more["error"])
with open(os.path.join(folder, "log.txt"), "w") as file:
    file.write("=> result\\n* accuracy: 50.0%\\n")
if "schedules" in more:
    with open(os.path.join(folder, "schedule.json"), "w") as file:
        file.write(more["schedules"])
content = {"accuracy_pct": 50.0, "backbone_hash": more["clip"], "files": {}, "prompts_hash": more["prompts"], "settings": settings, "config_hash": more["hash"],
           "cores": sorted(os.sched_getaffinity(0)), "threads": os.environ.get("OMP_NUM_THREADS"),
           "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "share": os.environ.get("MODPROMPT_GPU_SHARE"), "runs_on_gpu": os.environ.get("MODPROMPT_RUNS_ON_GPU"),
           "in_experiment": os.environ.get("MODPROMPT_IN_EXPERIMENT")}
content["modprompt"] = {"version": 3}
text = json.dumps(content, sort_keys=True, separators=(",", ":"))
content["modprompt"]["hash"] = hashlib.sha256(text.encode()).hexdigest()
with open(os.path.join(folder, "result.part"), "w") as file:
    json.dump(content, file)
os.replace(os.path.join(folder, "result.part"), os.path.join(folder, "result.json"))
"""

FILE = """
protocol: base2new
datasets: [digits]
seeds: [1, 2]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: glyph}
  MPL: {trainer: MPL, config: glyph}
"""


@pytest.fixture
def experiment(tmp_path):
    """Makes an experiment of a YAML text."""

    def make(text=FILE, name="small"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return experiment_file.read(path)

    return make


@pytest.fixture
def jobs(experiment):
    """The eight runs of FILE."""
    return protocols.jobs(experiment())


@pytest.fixture
def quick(monkeypatch):
    """Has a runner start the small program in place of train.py; gives a function that sets how a folder behaves."""
    behaviour = {}

    def command(job, out, data):
        import json

        more = {
            "hash": settings_hash(expected_settings(job, out)),
            "clip": embedded_clip(),
            "prompts": f"{job.method.label}{job.seed}",
            **({"schedules": schedules()} if job.kind == "search" else {}),
            **behaviour.get("", {}),
        }
        more.update(next((how for part, how in behaviour.items() if part and part in job.folder), {}))
        return [
            sys.executable,
            "-c",
            PROGRAM,
            str(out / job.folder),
            json.dumps(expected_settings(job, out)),
            json.dumps(more),
        ]

    for module in (chains, slurm):
        monkeypatch.setattr(module, "command", command)

    def behave(part="", **how):
        behaviour[part] = how

    behave.command = command
    return behave


@pytest.fixture
def drawn(monkeypatch):
    """Keeps figures, laid out, instead of writing them."""
    kept = {}

    def keep(figure, path):
        figure.draw_without_rendering()
        kept[path.name] = figure

    monkeypatch.setattr(figures, "save", keep)
    return kept


@pytest.fixture
def unpainted(monkeypatch):
    """Figures are made and not painted, which takes most of a report: their files are a pixel."""

    def pixel(figure, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(path)
        path.with_suffix(".pdf").write_bytes(b"%PDF-")

    monkeypatch.setattr(figures, "save", pixel)


def brought_to_an_end(jobs, out, n=2):
    """Run jobs in so many places; (job, reason) by how they stand then."""
    runs, ended = chains.Chains(jobs, out, out), {}
    runs.run(chains.make_slots([], chains.usable_cores(), n))
    for job, stands in runs.outcome(state.of_all(jobs, out)):
        ended.setdefault(stands.name, []).append((job, stands.why))
    return ended


def wait_for(condition, patience_s=120.0):
    """What a condition gives once that is true."""
    end = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def starts(folder: Path) -> int:
    """How often the small program was started in a run's folder."""
    path = folder / "starts.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def has_ended(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked for its exit code has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
