import pytest

from modprompt.io.program_text import dassl_name, find_module, flags_of, source_hash

OTHER = """
cfg.DATASET.ROOT = args.pictures
cfg.merge_from_file(args.data_file)
cfg.merge_from_file(args.trainer_config)
for flag in ("--trainer", "--pictures", "--data-file", "--trainer_config", "--eval_only", "--fast"):
    parser.add_argument(flag)
"""
OTHER_FLAGS = {
    "--trainer": "--trainer", "--root": "--pictures", "--dataset-config-file": "--data-file",
    "--config-file": "--trainer_config", "--eval-only": "--eval_only",
}  # fmt: skip
TWO_FILES = """
cfg.merge_from_file(args.config_file)
cfg.merge_from_file(args.more)
parser.add_argument("--config-file")
parser.add_argument("--more")
"""


@pytest.mark.parametrize(
    ("program", "flags"),
    [(OTHER, OTHER_FLAGS), (TWO_FILES, {"--config-file": "--config-file"}), ("parser.add_argument('-o')", None), ("(", None)],
)  # fmt: skip
def test_flags_are_known_by_what_a_program_does_with_them(program, flags, tmp_path):
    (tmp_path / "train.py").write_text(program)
    known = flags_of(tmp_path / "train.py")
    if flags is None:  # its parser is elsewhere: as the family has them
        assert known["--config-file"] == "--config-file"
        assert len(known) == 15
    else:
        assert known == flags


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from theirs.engine import build_trainer\n", "theirs"),
        ("from dassl.engine import build_trainer", "dassl"),
        (
            "from engine import build_trainer\nfrom elsewhere.engine import build_trainer",
            "dassl",
        ),  # it has no such folder
    ],
)
def test_dassl_is_the_package_whose_build_trainer_is_imported(line, name, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "train.py").write_text(f"import argparse\n{line}")
    assert dassl_name(tmp_path / "train.py") == name


SOURCES = {
    "package/method.py": "import torch\nfrom . import near\n\ndef late():\n    import helper\n",
    "package/near.py": "from helper import *\n",
    "package/apart.py": "x = 1\n",
    "package/__init__.py": "",
    "helper.py": "import modprompt.deep, further.inner\n",
    "further/inner.py": "import helper\n",
    "modprompt/deep.py": "",
}


def test_a_source_is_its_module_and_the_neighbours_it_imports(tmp_path, monkeypatch):
    def write(folder):
        for name, text in SOURCES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    def hash_now(folder=tmp_path):
        return source_hash("package.method", folder / "package/method.py")

    monkeypatch.chdir(write(tmp_path))
    assert find_module("package.method") == tmp_path / "package/method.py"
    assert find_module("package.gone") is find_module("gone.method") is None
    before = hash_now()
    assert hash_now(write(tmp_path / "moved")) == before
    assert hash_now(write(tmp_path / "site-packages")) != before  # helper.py is another distribution's
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(f"{text}# edited\n")
        assert (hash_now() == before) == (name in ("package/apart.py", "modprompt/deep.py")), name
        (tmp_path / name).write_text(text)
        assert hash_now() == before
