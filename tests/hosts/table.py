"""The codebases in which MPL was tried: one row for each train.py. The check runs them, docs/hosts.md is made from them.

A checkout lies in FOLDER/NAME, NAME being the last part of its address unless the row says it; a repository with two
programs has two rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

DASSL = "KaiyangZhou/Dassl.pytorch"  # for those that bring none: a checkout beside them
DASSL_COMMIT = "c61a1b5"  # 0.6.3
KEEP = "--keep-settings"


class Host(NamedTuple):
    """A program of a codebase, and what is its own about starting MPL there.

    name: what its method is called. address: owner/name at GitHub. also: other names that people search for.
    root: folder of train.py. dassl: its own Dassl ("": 0.6.3 beside it). trainer: our name in it. keep: whether our trainer
    needs --keep-settings there to learn the same. packages: what it imports beyond Dassl's and CoOp's requirements, for pip.
    needs: whether more than its trainers imports those, so that the launcher cannot leave that out. starts_over: whether its
    program deletes the folder of a run that was killed. differs: where it differs from our runs, and what is said then.
    special: what else its user should know. named: its folder, if that is not the last part of the address.
    """

    name: str
    address: str
    commit: str
    also: tuple[str, ...] = ()
    root: str = ""
    dassl: str = ""
    trainer: str = "MPL"
    keep: bool = False
    dataset_config: str = "configs/datasets/eurosat.yaml"
    packages: tuple[str, ...] = ()
    needs: bool = False
    starts_over: bool = False
    differs: Mapping[str, str] = {}
    special: str = ""
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


OWN_EPOCHS = "Sets OPTIM.MAX_EPOCH by itself, after all files and options: {}; the launcher keeps yours, and says so."
UNBUILT = "Builds the model when training begins, resumes nothing for its own trainers; its Dassl lies in its folder."
MMRL_SPECIAL = "Accepts no trainer but its own after `--trainer` and asks for `TASK`: the launcher gives `TASK B2N` and names MPL by `TRAINER.NAME`."
UNSHIPPED = (
    "Its program imports {}, which is not in the repository: it does not start by itself, nor by the import line."
)

HOSTS = (
    Host(
        "HiCroPL",
        "zzeoZheng/HiCroPL",
        "2c2b2f2",
        ("Hierarchical Cross-modal Prompt Learning",),
        dassl=".",
        keep=True,
        special="Its Dassl lies in its folder, and tests the best epoch by validation unless told otherwise, which also moves the random numbers: "
        "a message says so, and `--keep-settings` tests the last one.",
    ),
    Host(
        "DPC",
        "JREion/DPC",
        "01e6b59",
        dassl="Dassl.pytorch",
        differs={"line": "it has no __init__.py"},
        special=f"{UNSHIPPED.format('`trainers.imagenet_templates`')} Its `clip/` has no `__init__.py`, so an installed one would win by the import line, which says so.",
    ),
    Host(
        "FVG-PT",
        "JREion/FVG-PT",
        "fa64d57",
        dassl="Dassl.pytorch",
        differs={"line": "No module named 'trainers.fvgpt_coop'"},
        special=UNSHIPPED.format("`trainers.fvgpt_coop`"),
    ),
    Host(
        "HeBA",
        "Jahid12012021/VLM-HeBA",
        "60ecf23",
        differs={"line": "SyntaxError"},
        special="A file of its `trainers/` is not Python (`gpt3_prompts.py`): its program does not start by itself, nor by the import line.",
    ),
    Host(
        "DAPT (Ferenas)",
        "Ferenas/DAPT",
        "e556f17",
        differs={
            "launcher base": "there is no folder output",
            "launcher new": "there is no folder output",
            "line": "No module named 'pygrad'",
        },
        special="Its program writes below `--output-dir`, which a message says, and tests what lies at that place in `output/`, whatever `--model-dir` says; "
        "new classes by a function of its own trainers alone, and a message names `--host`, by which all is equal. `pygrad` is in no list of requirements.",
        named="DAPT-Ferenas",
    ),
    Host("KDPL", "miccunifi/KDPL", "76da8da", root="src"),
    Host(
        "BiomedCoOp",
        "HealthX-Lab/BiomedCoOp",
        "7ceb5a8",
        dassl="Dassl.pytorch",
        dataset_config="configs/datasets/btmri.yaml",
        special="Has no reader of EuroSAT: tried with its reader of BTMRI, and the same pictures.",
    ),
    Host("CoOp", "KaiyangZhou/CoOp", "ff61507", ("CoCoOp",)),
    Host("CoPrompt", "ShuvenduRoy/CoPrompt", "a2a6c12"),
    Host(
        "DePT",
        "Koorye/DePT",
        "d4ff416",
        packages=("plotnine", "yagmail"),
        special="Cleans its configuration before it extends it, and asks for `OPTIM.STAGED_LR`.",
    ),
    Host(
        "HPT",
        "Vill-Lab/2024-AAAI-HPT",
        "12c74f9",
        ("Hierarchical Prompt",),
        dataset_config="configs/datasets/b2n/eurosat.yaml",
        special="Files of data sets are under `configs/datasets/b2n/`; `modprompt scripts` accepts `b2n/eurosat` as name.",
    ),
    Host(
        "KgCoOp",
        "htyao89/KgCoOp",
        "c43ccc3",
        root="KgCoOp",
        dassl="Dassl.ProGrad.pytorch",
        special="Brings Dassl 0.5.0, which does not ask for `wilds`.",
    ),
    Host("MMA", "ZjjConan/VLM-MultiModalAdapter", "c3d0bc2", ("MultiModalAdapter",)),
    Host(
        "MPL, the official repository",
        "Zhenhan-Huang/Modular-Prompt-Learning",
        "cb5f63f",
        ("Modular Prompt Learning",),
        trainer="ModMPL",
        special="Its own trainer is called MPL, so ours is ModMPL.",
    ),
    Host("MaPLe", "muzairkhattak/multimodal-prompt-learning", "69bce21", ("IVLP", "VPT")),
    Host(
        "ProGrad",
        "BeierZhu/Prompt-align",
        "1b76203",
        ("Prompt-aligned Gradient",),
        root="ProGrad.public",
        dassl="Dassl.ProGrad.pytorch",
        special="Brings Dassl 0.5.0, which does not ask for `wilds`.",
    ),
    Host("PromptKD", "zhengli97/PromptKD", "ec244f7", dassl="Dassl.pytorch"),
    Host("PromptSRC", "muzairkhattak/PromptSRC", "bb95c77", ("Self-regulating Prompts",)),
    Host("RPO", "mlvlab/RPO", "d770db6", ("Read-only Prompt Optimization",)),
    Host(
        "SkipT",
        "Koorye/SkipT",
        "8c4636e",
        ("Skip Tuning",),
        packages=("deepmerge", "plotnine", "seaborn", "yagmail"),
        needs=True,
        special="Cleans its configuration before it extends it, and deletes the folder of a run that was not finished, which so starts over.",
        starts_over=True,
    ),
    Host(
        "TCP",
        "htyao89/Textual-based_Class-aware_prompt_tuning",
        "bd97bec",
        ("Textual-based Class-aware Prompt tuning",),
    ),
    Host(
        "ALVLM of active-prompt-learning",
        "ml-postech/active-prompt-learning",
        "105a662",
        ("Active Prompt Learning with Vision-Language Model Priors",),
        dassl=".",
        special=UNBUILT,
    ),
    Host("ATPrompt", "zhengli97/ATPrompt", "86980a1", ("AnchorOPT",), dassl="Dassl.pytorch"),
    Host(
        "CLAP",
        "jusiro/CLAP",
        "dbdf409",
        ("CLass adaptive Linear Probing",),
        packages=("pandas",),
        special="Uses RN50, whatever the files say, unless `--backbone` is given. Sets DATALOADER.TRAIN_X.SAMPLER by itself, to the one that MPL has anyway; DATASET.NUM_SHOTS is 1 unless you say it.",
    ),
    Host("DAPT", "mlvlab/DAPT", "cacb311", ("Distribution-Aware Prompt Tuning",), dassl="Dassl.pytorch"),
    Host("DeKg", "cnunlp/DeKg", "b8f2f1c", packages=("thop",)),
    Host(
        "DPL, the official repository",
        "Zhenhan-Huang/Differentiable-Prompt-Learn",
        "9a958e8",
        ("Differentiable Prompt Learning",),
        special="Reads the data set's name from `--dataset` alone, whatever the files say; its readers ask for `DATASET.SUBSAMPLE_CLASSES`, "
        "which its own `train.py` does not know and MPL adds.",
    ),
    Host(
        "LASP",
        "1adrianb/lasp",
        "5b1e8d9",
        special="Asks for a checkpoint of epoch 10 before every training; without a folder for it a message says that nothing is loaded.",
    ),
    Host("MMRL", "yunncheng/MMRL", "27d8821", ("MMRL++",), special=MMRL_SPECIAL),
    Host(
        "NLPrompt",
        "qunovo/NLPrompt",
        "b36bc8e",
        dassl="Dassl.pytorch",
        packages=("POT",),
        special="Makes half of the training labels wrong unless told otherwise, by names of a hundred classes.",
    ),
    Host(
        "PCB",
        "kaist-dmlab/pcb",
        "7f32a1b",
        ("Active Prompt Learning in Vision Language Models",),
        dassl=".",
        special=UNBUILT,
    ),
    Host(
        "PLOT",
        "CHENGY12/PLOT",
        "728539f",
        root="plot-coop",
        special=OWN_EPOCHS.format("50, 100 or 200 by the shots"),
    ),
    Host(
        "PLOT++",
        "CHENGY12/PLOT",
        "728539f",
        root="plot-pp",
        special=OWN_EPOCHS.format("50, 100 or 200 by the shots")
        + " Its program loads nothing with `--eval-only`: the trainer does that itself.",
    ),
    Host(
        "ProMetaR",
        "mlvlab/ProMetaR",
        "c907bdb",
        ("Meta-Regularization",),
        differs={"line": "No module named 'learn2learn'"},
        special="`learn2learn` does not build on a current Python; the launcher leaves out what imports it.",
    ),
    Host("ProText", "muzairkhattak/ProText", "f63d96b", dassl="Dassl.pytorch"),
    Host("SpecPL", "Mlrac1e/SpecPL-Prompt-Learning", "eba735b"),
    Host(
        "SpecPL's MMRL",
        "Mlrac1e/SpecPL-Prompt-Learning",
        "eba735b",
        root="MMRL",
        packages=("diffusers", "psutil"),
        needs=True,
        special=MMRL_SPECIAL,
    ),
    Host(
        "TAC",
        "FushengHao/TAC",
        "914c306",
        ("Task-Aware Clustering",),
        packages=("kmeans-pytorch",),
        special="Its `clip` builds a model for IVLP or VPT alone, which with all depths 0 is the plain one.",
    ),
    Host(
        "TAP",
        "HHenryD/TAP",
        "ef70c4c",
        ("Tree of Attributes Prompt",),
        packages=("einops",),
        special=OWN_EPOCHS.format("the sum of OPTIM.VISION_MAX_EPOCH and TEXT_MAX_EPOCH, 60"),
    ),
    Host("TaskRes", "geekyutao/TaskRes", "5195359", ("Task Residual",)),
    Host(
        "TextRefiner",
        "xjjxmu/TextRefiner",
        "fd1e693",
        special="The program of its folder `promptkd_textrefiner/` starts no trainer, its own neither: a file of its `trainers/` is not in the repository.",
    ),
)
