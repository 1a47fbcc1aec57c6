"""The codebases in which MPL was tried: one row for each train.py. The check runs them; docs/hosts.md tells of them.

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
        differs={"launcher new": "load_ImgFeat() of its own trainers"},
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
        differs={"--host": "--its-dassl", "--host new": "--its-dassl", "line": "No module named 'torcheval'"},
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
