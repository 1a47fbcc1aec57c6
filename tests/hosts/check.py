"""Run MPL in real checkouts of the CoOp family, by each way there is, and hold all against this project's own runs.

    python -m tests.hosts.check FOLDER [--only NAME ...] [--packages FOLDER ...]

FOLDER holds the checkouts of HOSTS (never committed here), each in the last part of its address unless its row names
it. Each gets small pictures laid out as EuroSAT and a small CLIP with random weights; MPL trains and is tested there by
--host and the launcher, trains by the import line, and the doctor's verdict is held against what happened. A row is
printed for each; exit code 1 if one is not as the table says. Dassl's requirements are installed, or in folders on
PYTHONPATH; what programs import beyond those is in --packages (pip install --target) and is there for the import line,
and the doctor, alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from modprompt.errors import UserError
from modprompt.hosts.codebase import PROGRAM
from modprompt.hosts.doctor import CANNOT, HOST, LAUNCHER, UNTRIED, WELL
from modprompt.hosts.rows import with_rows
from tests.conftest import BARE_CONFIG, ROOT, bare, published, random_clip, write_eurosat

EQUAL, LINE = "equal", "line"
TIMEOUT_S = 300  # of a run
EPOCHS, TESTED_EPOCH = 2, 1  # the one that --load-epoch takes is not the last
NUMBERS = ("total", "correct", "accuracy", "macro_f1")
SETTINGS = {"OPTIM": {"MAX_EPOCH": EPOCHS, "WARMUP_CONS_LR": 0.0035}, "TRAIN": {"CHECKPOINT_FREQ": 1}}
SETTINGS["TRAINER"] = {"MPL": {"N_CTX": 1, "PROMPT_DEPTH": 3, "PREC": "fp32"}}
MODEL = "MultiModalPromptLearner/model.pth.tar-{}"
EUROSAT = "configs/datasets/eurosat.yaml"
DASSL = "KaiyangZhou/Dassl.pytorch"  # for those that bring none: a checkout beside them
DASSL_COMMIT = "c61a1b5"  # 0.6.3
KEEP = "--keep-settings"


# ------------------------------------------------------------------ the codebases


class Host(NamedTuple):
    """A program of a codebase, and what is its own about starting MPL there.

    name: what its method is called. address: owner/name at GitHub. root: folder of train.py. dassl: its own Dassl ("":
    0.6.3 beside it). trainer: our name in it. keep: whether our trainer needs --keep-settings there to learn the same.
    packages: what it imports beyond Dassl's and CoOp's requirements, for pip. needs: whether more than its trainers
    imports those, so that the launcher cannot leave that out. differs: where it differs from our runs, and what is said
    then. named: its folder, if that is not the last part of the address.
    """

    name: str
    address: str
    commit: str
    root: str = ""
    dassl: str = ""
    trainer: str = "MPL"
    keep: bool = False
    dataset_config: str = "configs/datasets/eurosat.yaml"
    packages: tuple[str, ...] = ()
    needs: bool = False
    differs: Mapping[str, str] = {}
    named: str = ""

    @property
    def checkout(self) -> str:
        """The name of its folder."""
        return self.named or self.address.split("/")[1]

    def folder(self, all_of_them: Path) -> Path:
        """Where its train.py is, below the folder of all checkouts."""
        return all_of_them / self.checkout / self.root

    def dassl_folder(self, all_of_them: Path) -> Path:
        """What goes on PYTHONPATH for its Dassl; for one in the program's own folder that is this folder."""
        return all_of_them / self.checkout / self.dassl if self.dassl else all_of_them / DASSL.split("/")[1]


HOSTS = (
    Host("ALVLM of active-prompt-learning", "ml-postech/active-prompt-learning", "105a662", dassl="."),
    Host("ATPrompt", "zhengli97/ATPrompt", "86980a1", dassl="Dassl.pytorch"),
    Host(
        "BiomedCoOp",
        "HealthX-Lab/BiomedCoOp",
        "7ceb5a8",
        dassl="Dassl.pytorch",
        dataset_config="configs/datasets/btmri.yaml",
    ),
    Host("BIP", "htyao89/BIP", "427ed6c"),
    Host(
        "BlackVIP",
        "changdaeoh/BlackVIP",
        "66606fb",
        packages=("tabulate", "wandb"),
        needs=True,
        differs={"launcher": "other correct", "launcher new": "no checkpoint", "line": "a Dassl of another name"},
    ),
    Host("CLAP", "jusiro/CLAP", "dbdf409", packages=("pandas",)),
    Host("CoOp", "KaiyangZhou/CoOp", "ff61507"),
    Host("CoPrompt", "ShuvenduRoy/CoPrompt", "a2a6c12"),
    Host(
        "CRoFT",
        "LinLLLL/CRoFT",
        "e16d0e1",
        root="CoOp",
        dassl="CoOp",
        keep=True,
        differs={"launcher new": "This program calls load_ImgFeat()"},
    ),
    Host("DAPT", "mlvlab/DAPT", "cacb311", dassl="Dassl.pytorch"),
    Host(
        "DAPT (Ferenas)",
        "Ferenas/DAPT",
        "e556f17",
        differs={"launcher new": "there is no folder output", "line": "No module named 'pygrad'"},
        named="DAPT-Ferenas",
    ),
    Host("DeKg", "cnunlp/DeKg", "b8f2f1c", packages=("thop",)),
    Host("DePT", "Koorye/DePT", "d4ff416", packages=("plotnine", "yagmail")),
    Host(
        "DPC",
        "JREion/DPC",
        "01e6b59",
        dassl="Dassl.pytorch",
        differs={"line": "No module named 'trainers.imagenet_templates'"},
    ),
    Host("DPL, the official repository", "Zhenhan-Huang/Differentiable-Prompt-Learn", "9a958e8"),
    Host(
        "FAPT",
        "changbaozhou/FAPT",
        "dbde4bb",
        differs={"launcher": "'before_adv_test'", "line": "a Dassl of another name"},
    ),
    Host(
        "FVG-PT",
        "JREion/FVG-PT",
        "fa64d57",
        dassl="Dassl.pytorch",
        differs={"line": "No module named 'trainers.fvgpt_coop'"},
    ),
    Host("HeBA", "Jahid12012021/VLM-HeBA", "60ecf23", differs={"line": "SyntaxError"}),
    Host("HiCroPL", "zzeoZheng/HiCroPL", "2c2b2f2", dassl=".", keep=True),
    Host("HPT", "Vill-Lab/2024-AAAI-HPT", "12c74f9", dataset_config="configs/datasets/b2n/eurosat.yaml"),
    Host("KDPL", "miccunifi/KDPL", "76da8da", root="src"),
    Host("KgCoOp", "htyao89/KgCoOp", "c43ccc3", root="KgCoOp", dassl="Dassl.ProGrad.pytorch"),
    Host("LASP", "1adrianb/lasp", "5b1e8d9"),
    Host("MaPLe", "muzairkhattak/multimodal-prompt-learning", "69bce21"),
    Host("MMA", "ZjjConan/VLM-MultiModalAdapter", "c3d0bc2"),
    Host("MMRL", "yunncheng/MMRL", "27d8821"),
    Host(
        "MoCoOp",
        "dyabel/mocoop",
        "04b5d2a",
        packages=("wandb",),
        needs=True,
        differs=dict.fromkeys(("launcher", "launcher new", "line"), "Non-existent config key: TRAINER.MoCoOp.GROUPS"),
    ),
    Host("MPL, the official repository", "Zhenhan-Huang/Modular-Prompt-Learning", "cb5f63f", trainer="ModMPL"),
    Host("NLPrompt", "qunovo/NLPrompt", "b36bc8e", dassl="Dassl.pytorch", packages=("POT",)),
    Host(
        "OVMR",
        "Zehong-Ma/OVMR",
        "157202d",
        dassl="Dassl.pytorch",
        differs={"--host": "--host-dassl", "--host new": "--host-dassl", "line": "No module named 'torcheval'"},
    ),
    Host("PCB", "kaist-dmlab/pcb", "7f32a1b", dassl="."),
    Host("PLOT", "CHENGY12/PLOT", "728539f", root="plot-coop"),
    Host("PLOT++", "CHENGY12/PLOT", "728539f", root="plot-pp"),
    Host("ProGrad", "BeierZhu/Prompt-align", "1b76203", root="ProGrad.public", dassl="Dassl.ProGrad.pytorch"),
    Host("ProMetaR", "mlvlab/ProMetaR", "c907bdb", differs={"line": "No module named 'learn2learn'"}),
    Host("PromptKD", "zhengli97/PromptKD", "ec244f7", dassl="Dassl.pytorch"),
    Host("PromptSRC", "muzairkhattak/PromptSRC", "bb95c77"),
    Host("ProText", "muzairkhattak/ProText", "f63d96b", dassl="Dassl.pytorch"),
    Host("RPO", "mlvlab/RPO", "d770db6"),
    Host("SkipT", "Koorye/SkipT", "8c4636e", packages=("deepmerge", "plotnine", "seaborn", "yagmail"), needs=True),
    Host("SpecPL", "Mlrac1e/SpecPL-Prompt-Learning", "eba735b"),
    Host(
        "SpecPL's MMRL",
        "Mlrac1e/SpecPL-Prompt-Learning",
        "eba735b",
        root="MMRL",
        packages=("diffusers", "psutil"),
        needs=True,
    ),
    Host("TAC", "FushengHao/TAC", "914c306", packages=("kmeans-pytorch",)),
    Host("TAP", "HHenryD/TAP", "ef70c4c", packages=("einops",)),
    Host("TaskRes", "geekyutao/TaskRes", "5195359"),
    Host("TCP", "htyao89/Textual-based_Class-aware_prompt_tuning", "bd97bec"),
    Host("TextRefiner", "xjjxmu/TextRefiner", "fd1e693"),
)


# ------------------------------------------------------------------ what all runs share


class Run(NamedTuple):
    """A finished run. code: its exit code, losses: four decimals each, tested: text of each of NUMBERS (of the last
    test), error: its last line of stderr that names an error."""

    code: int
    losses: tuple[float, ...] = ()
    tested: tuple[str, ...] = ()
    error: str = ""

    @property
    def failed(self) -> str:
        """Why it counts as failed, or ""."""
        return f"exit code {self.code}: {self.error}" if self.code else "" if self.tested else "it tested nothing"


def read_run(code: int, out: str, err: str) -> Run:
    """A run by what it printed."""
    numbers = [re.findall(rf"^\* {name}: ([\d.,]+)%?\s*$", out, re.MULTILINE) for name in NUMBERS]
    errors = [line for line in err.splitlines() if re.match(r"[\w.]*(error|Error|Exception|Interrupt)\b", line)]
    return Run(
        code,
        tuple(float(value) for value in re.findall(r"^epoch .* loss (nan|[\d.]+) \(", out, re.MULTILINE)),
        tuple(values[-1].replace(",", "") for values in numbers) if all(numbers) else (),
        (errors or err.strip().splitlines() or [""])[-1][:300],
    )


def same_number(a: str, b: str) -> bool:
    """Whether two printed numbers are one, as far as the shorter of them goes (hosts print one to three decimals)."""
    decimals = min(len(text.partition(".")[2]) for text in (a, b))
    return abs(float(a) - float(b)) <= 0.500001 * 10**-decimals if decimals else float(a) == float(b)


def difference(run: Run, expected: Run) -> str:
    """What tells a run from another: "" if losses (to the last digit) and tests are equal."""
    if run.failed:
        return run.failed
    if len(run.losses) != len(expected.losses):
        return f"{len(run.losses)} steps in place of {len(expected.losses)}"
    if run.losses != expected.losses:
        return f"losses differ by {max(abs(a - b) for a, b in zip(run.losses, expected.losses)):.0e}"
    other = [name for name, a, b in zip(NUMBERS, run.tested, expected.tested) if not same_number(a, b)]
    return f"other {', '.join(other)}: {run.tested} in place of {expected.tested}" if other else ""


def other_tensors(one: Path, two: Path) -> str:
    """The first tensor of two checkpoints that differs in a bit, or ""."""
    states = [torch.load(path, map_location="cpu", weights_only=True)["state_dict"] for path in (one, two)]
    if states[0].keys() != states[1].keys():
        return "the checkpoint has other tensors"
    differing = (key for key in states[0] if not torch.equal(states[0][key], states[1][key]))
    return next((f"{key} was learned otherwise" for key in differing), "")


def checkpoint(out: Path, epoch: int) -> Path | None:
    """That of an epoch in an output folder, wherever below it a program has put it; what is kept beside it is none."""
    files = (path for path in out.glob(f"**/{MODEL.format(epoch)}") if "kept" not in path.parts)
    return next(files, None)


class Way(NamedTuple):
    """How a program is started: its words, its folder, PYTHONPATH, our trainer there, and the data set's config."""

    start: tuple[str, ...]
    folder: Path
    path: tuple[Path, ...]
    trainer: str = "MPL"
    dataset_config: str = EUROSAT


def environment(path: Sequence[Path]) -> dict[str, str]:
    """The environment of a run, with these folders on PYTHONPATH, and the caller's behind them."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MODPROMPT"))}
    whole = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": whole}


class Bench:
    """A folder with all that runs need, and this project's own runs, which all others are held against."""

    def __init__(self, folder: Path):
        self.folder, self.pictures = folder, folder / "pictures"
        write_eurosat(self.pictures, 48)
        torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
        tree = yaml.safe_load(BARE_CONFIG)
        for name, node in SETTINGS.items():
            tree.setdefault(name, {}).update(node)
        (folder / "mpl.yaml").write_text(yaml.safe_dump(tree))
        (folder / "ours").mkdir()
        (folder / "ours" / "modprompt").symlink_to(ROOT / "modprompt")  # as pip has it: nothing else of a checkout
        (folder / "wilds").mkdir()  # which Dassl imports for data sets of its own
        (folder / "wilds" / "wilds.py").write_text("def get_dataset(*args, **kwargs):\n    raise ImportError\n")
        self._measure()

    def desk(self, name: str) -> Path:
        """A folder for the runs in one codebase, with a copy of the pictures."""
        folder = self.folder / re.sub(r"\W", "-", name)
        shutil.copytree(self.pictures, folder / "data", symlinks=True)
        return folder

    def words(self, desk: Path, way: Way, classes: str, out: str) -> list[str]:
        """Flags and options of MPL on these classes."""
        flags = ["--root", desk / "data", "--seed", 1, "--trainer", way.trainer, "--output-dir", desk / out]
        flags += ["--config-file", self.folder / "mpl.yaml", "--dataset-config-file", way.dataset_config]
        options = [*bare(self.folder / "clip.pt"), "DATASET.NUM_SHOTS", 4, "DATASET.SUBSAMPLE_CLASSES", classes]
        return [*map(str, [*flags, *options])]

    def run(self, desk: Path, way: Way, classes: str, out: str, more: Sequence = ()) -> Run:
        """A run of MPL on these classes into a folder of the desk. more: further flags."""
        return self.program(desk, [*more, *self.words(desk, way, classes, out)], way, out)

    def program(self, desk: Path, words: Sequence, way: Way, out: str) -> Run:
        """A way's program; a codebase may print into a log in its output folder, and nowhere else."""
        for cache in (desk / "data").glob("*/split_fewshot*"):
            shutil.rmtree(cache)  # a run that finds draws of few shots draws other random numbers
        try:
            words, env = [sys.executable, *way.start, *map(str, words)], environment(way.path)
            done = subprocess.run(words, cwd=way.folder, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Run(-1, error=f"took more than {TIMEOUT_S} s")
        said = done.stdout
        if "* accuracy" not in said:
            said += "".join(path.read_text(errors="replace") for path in sorted((desk / out).glob("log.txt*")))
        return read_run(done.returncode, said, done.stderr)

    def command(self, words: Sequence, path: Sequence[Path], folder: Path) -> subprocess.CompletedProcess[str]:
        """One of our commands, in a process of its own."""
        whole = [sys.executable, "-m", "modprompt", *map(str, words)]
        return subprocess.run(whole, cwd=folder, env=environment(path), capture_output=True, text=True, check=False)

    def _measure(self) -> None:
        """This project's own numbers, on the small Dassl.

        Raises:
            UserError: if they fail, or could not tell a wrong run from a right one.
        """
        way = Way(("train.py",), ROOT, (ROOT,))
        first = self.desk("first")
        runs = [self.run(first, way, "base", "out")]  # writes the split file, which takes random numbers
        split = first / "data/eurosat/split_zhou_EuroSAT.json"
        shutil.copy(split, self.pictures / "eurosat")
        btmri = self.pictures / "BTMRI"  # the same pictures, as BiomedCoOp's reader wants them
        btmri.mkdir()
        (btmri / "BTMRI").symlink_to("../eurosat/2750")
        shutil.copy(split, btmri / "split_BTMRI.json")
        desk = self.desk("trained")
        self.trained = self.run(desk, way, "base", "out")
        self.model = desk / "out" / MODEL.format(EPOCHS)
        self.tested, last = (
            self.run(desk, way, "new", f"new-{epoch}", loading(desk / "out", epoch)) for epoch in (TESTED_EPOCH, EPOCHS)
        )
        failed = [run.failed for run in (*runs, self.trained, self.tested, last) if run.failed]
        if failed:
            raise UserError(f"this project's own runs fail: {failed[0]}")
        if last.tested == self.tested.tested:
            raise UserError("the pictures of the check do not tell a trained model from another: change them")


def loading(folder: Path, epoch: int = TESTED_EPOCH) -> list:
    """Flags of a test of a run's checkpoint."""
    return ["--eval-only", "--model-dir", folder, "--load-epoch", epoch]


# ------------------------------------------------------------------ the check


def chosen(names: Iterable[str]) -> list[Host]:
    """Rows of the table by name or by checkout, all for no name; raises UserError, naming what is not in it."""
    known = {name for host in HOSTS for name in (host.name, host.checkout)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"not in tests/hosts/check.py: {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return [host for host in HOSTS if not names or {host.name, host.checkout} & {*names}]


def require(folder: Path, hosts: list[Host]) -> None:
    """Raise UserError if a checkout is not there or at another commit, with the commands that make it."""
    wanted = {host.checkout: (host.address, host.commit) for host in hosts}
    if any(not host.dassl for host in hosts):
        wanted[DASSL.split("/")[1]] = (DASSL, DASSL_COMMIT)
    missing = []
    for name, (address, commit) in wanted.items():
        place = folder / name
        if not (place / ".git").exists():
            missing.append(f"git clone https://github.com/{address} {place} && git -C {place} checkout {commit}")
        elif not git(place, "rev-parse", "HEAD").startswith(commit):
            missing.append(f"git -C {place} checkout {commit}")
    if missing:
        raise UserError("first, for the checkouts of the table:\n" + "\n".join(missing))


def git(folder: Path, *words: str) -> str:
    """What git prints; subprocess.CalledProcessError if it fails."""
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


class Visit:
    """The runs in one codebase.

    Args:
        bench: what all runs share.
        host: its row.
        folder: of all checkouts.
        packages: folders with what its program imports by itself, for PYTHONPATH.
    """

    def __init__(self, bench: Bench, host: Host, folder: Path, packages: tuple[Path, ...]):
        self.bench, self.host, self.desk = bench, host, bench.desk(host.name)
        self.top, self.folder = folder / host.checkout, host.folder(folder)
        ours, dassl = bench.folder / "ours", host.dassl_folder(folder)
        start = (PROGRAM, *([KEEP] if host.keep else []))
        launched = (dassl, *(packages if host.needs else ()), ours)
        self.whole = (dassl, bench.folder / "wilds", *packages, ours)
        by_host = ("-m", "modprompt", "train", "--host", str(self.folder))
        self.ways = {
            HOST: Way(by_host, self.desk, (ours,), "MPL", host.dataset_config),
            LAUNCHER: Way(("-m", "modprompt.launch", *start), self.folder, launched, host.trainer, host.dataset_config),
            LINE: Way(start, self.folder, self.whole, host.trainer, host.dataset_config),
        }

    def row(self) -> dict[str, str]:
        """What came of each way, {what: EQUAL, or what is wrong}."""
        row, failed = {}, {}
        for way in (HOST, LAUNCHER):
            run = self.bench.run(self.desk, self.ways[way], "base", way)
            failed[way], row[way] = run.failed, self.learned(run, way)
            saved = checkpoint(self.desk / way, TESTED_EPOCH)
            words = loading(self.desk / way if saved is None else saved.parents[1])
            test = self.bench.run(self.desk, self.ways[way], "new", f"{way}-new", words)
            row[f"{way} new"] = difference(test, self.bench.tested)
        row["doctor"] = self.doctor(failed)
        row[LINE] = self.install() or "; ".join(filter(None, [self.line(), self.install("--uninstall")]))
        row["git"] = git(self.top, "status", "--porcelain", "--ignored", "--untracked-files=all")
        return {name: self.plain(text) or EQUAL for name, text in row.items()}

    def learned(self, run: Run, out: str) -> str:
        """What tells a training from ours, the learned tensors included, or ""."""
        fault, saved = difference(run, self.bench.trained), checkpoint(self.desk / out, EPOCHS)
        if saved is None:
            return fault or "it left no checkpoint"
        return fault or other_tensors(saved, self.bench.model)

    def line(self) -> str:
        """The same of a training by `python train.py`, with the words that its user is told."""
        way = self.ways[LINE]
        words = with_rows(self.bench.words(self.desk, way, "base", LINE), self.folder / PROGRAM, way.trainer).words
        return self.learned(self.bench.program(self.desk, words, way, LINE), LINE)

    def doctor(self, failed: dict[str, str]) -> str:
        """What of the doctor's report is not what happened, or "".

        Args:
            failed: why MPL does not train, by way; "" where it does.
        """
        done = self.bench.command(["doctor", "--seconds", 200], self.whole, self.folder)
        return wrong(done.returncode, done.stdout, failed)

    def install(self, *words: str) -> str:
        """What is wrong with a call of the installer, or ""."""
        done = self.bench.command(["install", self.folder, *words], self.whole, self.desk)
        said = re.sub(r"/\S*/site-packages/", "site-packages/", done.stderr.strip())  # no folder of a machine
        return f"modprompt install: {said[:300]}" if done.returncode else ""

    def plain(self, text: str) -> str:
        """What was said, without folders of this machine."""
        return text.replace(f"{self.desk}/", "").replace(str(self.top), self.host.checkout)


def wrong(code: int, report: str, failed: dict[str, str]) -> str:
    """What of a doctor's report is not what happened, or "": its verdicts on the ways that it tried, its exit code.

    That a way could not be tried is no verdict, and so no wrong one.
    """
    states = dict(re.findall(rf"^({LAUNCHER}|{HOST}) +(\S.*)$", report, re.MULTILINE))
    faults = [
        f"{way}: said '{state}', happened: {failed[way] or 'it did'}"
        for way, state in states.items()
        if not state.startswith(UNTRIED) and (state == WELL) != (not failed[way])
    ]
    last = next(reversed(states.values()), "")
    expected = 0 if last == WELL else UserError.exit_code if last.startswith(UNTRIED) else CANNOT
    return "; ".join(faults + ([f"exit code {code} in place of {expected}"] if code != expected else []))


def holds(host: Host, row: dict[str, str]) -> bool:
    """Whether all of a row is equal, or differs as the table says; packages that are not there may keep the line out."""
    differing = {name: text for name, text in row.items() if text != EQUAL}
    if host.packages and "pip install" in differing.get(LINE, ""):
        del differing[LINE]
    return {*differing} == {*host.differs} and all(said in differing[name] for name, said in host.differs.items())


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if a row does not hold."""
    hosts, folder = chosen(args.only), args.folder.resolve()
    require(folder, hosts)
    bad = []
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(Path(work).resolve())
        for host in hosts:
            row = Visit(bench, host, folder, tuple(args.packages)).row()
            bad += [] if holds(host, row) else [host.name]
            holding = "DOES NOT HOLD: " if host.name in bad else ""
            cells = " | ".join(f"{name}: {text}" for name, text in row.items())
            print(f"{holding}{host.name} {host.commit} | {cells}", flush=True)
    print(f"{len(hosts) - len(bad)} of {len(hosts)} hold" + (f"; not: {', '.join(bad)}" if bad else ""))
    return int(bool(bad))


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 1 if a row does not hold, 2 after one line on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the checkouts")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows of the table, or checkouts")
    parser.add_argument("--packages", type=Path, nargs="+", default=[], help="folders with what programs import")
    try:
        return run(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
