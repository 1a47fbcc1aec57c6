"""What is run where little is named: data by what lies in the root, the config by a table, the CLIP by its words."""

import copy
import pickle
import re

import pytest
import yaml

import modprompt
from modprompt.cli import flags, train
from modprompt.clip.facts import facts_of
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io.files import write_json
from modprompt.io.records import read_yaml, sealed
from modprompt.io.settings import read_settings
from modprompt.methods.table import METHODS, config_of, configs_by_clip
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.config import method_of, of_settings
from tests.conftest import ROOT, random_clip
from tests.methods import teacher_folder
from tests.modprompt.data.trees import eurosat, lines, pictures

DIGITS = {"one": 6, "two": 6}
ANIMALS = {"cat": 6, "dog": 6}


def read(*words, takes_all=False):
    return flags.settings_of(flags.parse_args([str(word) for word in words]), takes_all=takes_all)


def value(settings, key):
    return settings[key].value if key in settings else None


def config(trainer, name):
    return f"file {ROOT / 'configs/trainers' / trainer / name}.yaml"


@pytest.fixture
def digits(tmp_path):
    pictures(tmp_path / "digits_of_mine", DIGITS)
    return tmp_path / "digits_of_mine"


@pytest.fixture
def animals(tmp_path):
    pictures(tmp_path / "animals", ANIMALS)
    return tmp_path / "animals"


def test_trainer_alone_is_the_embedded_default_and_its_options_win():
    settings = read("--trainer", "MPL")
    assert settings["DATASET.NUM_SHOTS"].value == "16"
    assert settings["SEED"].value == 1
    assert settings["OPTIM.LR"].source == config("MPL", "glyph")
    assert read("--trainer", "MPL", "--seed", 0)["SEED"].value == 0
    assert read("--trainer", "MPL", "DATASET.NUM_SHOTS", "4")["DATASET.NUM_SHOTS"].value == "4"
    assert value(read("--trainer", "MPL", "ACTIVE.ROUNDS", "3"), "DATASET.NUM_SHOTS") == "-1"
    assert list(read("--trainer", "Nothing")) == ["SEED", "TRAINER.NAME"]


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ((), "output/digits/shots_16/MPL/glyph/seed1"),
        (("--seed", 3, "DATASET.NUM_SHOTS", 4), "output/digits/shots_4/MPL/glyph/seed3"),
        (("--eval-only", "DATASET.SUBSAMPLE_CLASSES", "new"), "output/digits/shots_16_new/MPL/glyph/seed1/eval"),
        (("ACTIVE.ROUNDS", 2), "output/digits_active/MPL/glyph/seed1"),
        (("--output-dir", "o"), "o"),
        (("--output-dir", ""), ""),  # given: the run refuses it
        (("--dataset-config-file", "mine/pets.yaml"), "output/pets/shots_all/MPL/glyph/seed1"),
        (("DATASET.NAME", "Digits", "MODEL.BACKBONE.NAME", "glyph-clip"), "output/digits/shots_all/MPL/glyph/seed1"),
        (("--dataset-config-file", "digits", "--config-file", "mine/named.yaml"), "named.yaml's"),
        (("--dataset-config-file", "digits", "--trainer", "Mine"), "output/digits/shots_all/Mine/seed1"),
    ],
)
def test_each_run_has_a_folder_of_its_own_unless_one_is_given(words, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/pets.yaml").write_text("DATASET: {NAME: Digits}\n")
    (tmp_path / "mine/named.yaml").write_text("OUTPUT_DIR: named.yaml's\n")
    assert value(read("--trainer", "MPL", *words), "OUTPUT_DIR") == place


def test_tests_of_two_models_have_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def place(model):
        return value(read("--trainer", "MPL", "--eval-only", "--model-dir", model), "OUTPUT_DIR")

    first = "output/digits/shots_16/MPL/glyph/seed1/eval"
    assert place("one") == first
    (tmp_path / first).mkdir(parents=True)
    write_json(tmp_path / first / "result.json", sealed({"evaluated": "one epoch last"}, 1))
    assert (place("one"), place("other")) == (first, f"{first}_2")


def test_runs_without_a_seed_are_numbered_and_an_unfinished_one_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    above = tmp_path / "output/digits/shots_16/MPL/glyph"

    def next_place():
        return value(read("--trainer", "MPL", "--seed", -1), "OUTPUT_DIR")

    assert next_place() == "output/digits/shots_16/MPL/glyph/unseeded-1"
    (above / "unseeded-1").mkdir(parents=True)
    (above / "unseeded-1" / run_folder.STATE).write_text("unfinished")
    assert next_place().endswith("/unseeded-1")
    taken = run_folder.take(above / "unseeded-1")
    assert next_place().endswith("/unseeded-2")  # it is at work
    taken.release()
    (above / "unseeded-1/result.json").write_text("a result")
    (above / "unseeded-1" / run_folder.STATE).unlink()
    assert next_place().endswith("/unseeded-2")


@pytest.mark.parametrize(
    "words", [("--backbone", "ViT-B/16"), ("MODEL.BACKBONE.PATH", "a.pt"), ("--config-file", "glyph")]
)
def test_embedded_data_are_taken_only_where_nothing_is_named(words):
    with pytest.raises(
        UserError, match="^No data set is specified. Use --root FOLDER .* or --dataset-config-file NAME"
    ):
        read("--trainer", "MPL", *words)


def test_root_alone_is_a_folder_of_images_and_the_embedded_clip_knows_its_words(digits, capsys):
    settings = read("--trainer", "MPL", "--root", digits)
    assert (value(settings, "DATASET.NAME"), value(settings, "MODEL.BACKBONE.NAME")) == ("ImageFolder", "glyph-clip")
    assert settings["OUTPUT_DIR"].value == "output/digits_of_mine/shots_all/MPL/glyph/seed1"
    assert "DATASET.NUM_SHOTS" not in settings
    read_as, runs_by = capsys.readouterr().out.splitlines()
    assert (
        read_as
        == f"No data set is specified, so --root {digits} is read as the data set image_folder, which matches the content "
        "of the folder."
    )
    assert runs_by == f"MPL uses the config file {ROOT}/configs/trainers/MPL/glyph.yaml (for glyph-clip)."


def test_unknown_words_are_named_with_what_knows_them_and_nothing_is_written(animals, capsys):
    before = sorted(animals.rglob("*"))
    assert train.main(["--trainer", "MPL", "--root", str(animals), "--no-train"]) == 2
    assert capsys.readouterr().err == (
        "error: The default CLIP model, glyph-clip, was not trained on the words 'cat', 'dog' in the class names. "
        "Use --backbone ViT-B/16 (OpenAI's weights, 350 MB, are downloaded at the first use).\n"
    )
    assert sorted(animals.rglob("*")) == before


@pytest.mark.parametrize("takes_all", [False, True])
def test_own_images_with_a_clip_have_its_config(animals, takes_all):
    words = ("--trainer", "MPL", "--root", animals, "--backbone", "ViT-B-16/openai")
    settings = read(*words, takes_all=takes_all)
    assert value(settings, "DATASET.NAME") == "ImageFolder"
    assert settings["OPTIM.LR"] == (0.0035, config("MPL", "vit_b4_c1_add2_rm1"))
    lines(animals / "classnames.txt", ANIMALS)
    settings = read(*words, takes_all=takes_all)
    assert value(settings, "DATASET.NAME") == ("Unlabelled" if takes_all else "ImageFolder")


@pytest.mark.parametrize("words", [("--backbone", "RN101"), ("MODEL.BACKBONE.PATH", "RN101")])
def test_clip_without_a_config_has_that_of_vit_b16_and_a_line_says_so(animals, words, capsys):
    settings = read("--trainer", "PromptSRC", "--root", animals, *words)
    assert settings["OPTIM.LR"].source == config("PromptSRC", "vit_b16_c2_ep20_batch4_4+4ctx")
    assert "(for ViT-B/16, because PromptSRC has no config file for RN101).\n" in capsys.readouterr().out


def test_data_set_that_is_named_has_the_trainers_config(tmp_path):
    eurosat(tmp_path)
    words = ("--trainer", "CoOp", "--root", tmp_path, "--dataset-config-file", "eurosat")
    settings = read(*words, "--backbone", "RN50")
    assert settings["OPTIM.LR"].source == config("CoOp", "rn50_ctxv1")
    assert settings["OUTPUT_DIR"].value == "output/eurosat/shots_all/CoOp/rn50_ctxv1/seed1"
    with pytest.raises(UserError, match=r"^No CLIP model is specified for EuroSAT. Use --backbone ViT-B/16 \(.*350 MB"):
        read(*words)
    assert value(read("--trainer", "CoOp", "--dataset-config-file", "digits"), "MODEL.BACKBONE.NAME") == "glyph-clip"
    with pytest.raises(
        UserError,
        match="^TrainerSubnet has no config file for the default CLIP model, glyph-clip. .*: --backbone ViT-B/16",
    ):
        read("--trainer", "TrainerSubnet", "--dataset-config-file", "digits")


def test_data_of_the_environment_are_no_folder_of_images(animals, monkeypatch, tmp_path, capsys):
    """DATA is where data sets are: the digits are written there, but not among somebody's images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", str(animals))
    assert train.main(["--trainer", "MPL", "--no-train"]) == 2
    assert (
        f"error: The data set Digits would be written into {animals}, which contains folders with your images."
        in capsys.readouterr().err
    )
    assert {path.name for path in animals.iterdir()} == {*ANIMALS}


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning")
def test_own_images_are_trained_on_and_get_their_split_file_alone(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = {*digits.rglob("*")}
    words = ["--trainer", "MPL", "--root", digits.name, "DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1"]
    assert train.main(words) == 0
    out = tmp_path / "output/digits_of_mine/shots_1/MPL/glyph/seed1"
    assert (out / "result.json").is_file()
    assert (out / "split_fewshot/shot_1-seed_1.json").is_file()
    assert {*digits.rglob("*")} - before == {digits / "split_ImageFolder.json"}
    assert capsys.readouterr().out.count(f"to {digits / 'split_ImageFolder.json'}\n") == 1


def test_table_has_every_trainer_and_its_configs_are_there():
    table = yaml.safe_load((ROOT / "configs/trainers.yaml").read_text())
    assert set(table) == {row.name for row in METHODS}
    wrong = []
    for trainer, row in table.items():
        by_clip = configs_by_clip(trainer)
        if [*row][: len(by_clip)] != [*by_clip] or "ViT-B/16" not in by_clip:
            wrong.append((trainer, *by_clip))
        others = [(trainer, row[key]) for key in ("few_shot", "cross") if key in row]
        wrong += [other for other in others if not config_of(*other).is_file()]
        for clip, name in by_clip.items():
            named = read_settings(str(config_of(trainer, name)))["MODEL.BACKBONE.NAME"]
            words = ["--trainer", trainer, "--dataset-config-file", "digits", "--backbone", clip]
            if (named, of_settings(read(*words)).MODEL.BACKBONE.NAME) != (clip, clip):
                wrong.append((trainer, clip, named))
    assert wrong == [("ProGrad", "ViT-B/16", "RN50")]  # its repository has RN50's alone


LENGTHS = {"lengths_text": (1,) * 12, "lengths_vision": (1,) * 12}
NEEDED = {  # what a method cannot do without, by field
    **dict.fromkeys(("HiCroPL", "LightRA"), {"sentences": "template"}),
    **dict.fromkeys(("DPL", "TrainerSubnet"), LENGTHS),
    "PromptKD": {"teacher_ckpt": "none", "teacher_resize": True, "modal": "cross"},
}


@pytest.fixture(scope="module")
def clips():
    large = random_clip(text_layers=12, vision_layers=12, resolution=224)
    large.__dict__["modprompt_facts"] = facts_of(large)._replace(name="ViT-B/16")
    return {"glyph-clip": modprompt.load_clip("glyph-clip", "cpu")[0], "ViT-B/16": large}


@pytest.mark.filterwarnings("ignore:CTX_INIT is ignored")  # HiCroPL's file for ViT-B/16
@pytest.mark.parametrize("name", ["glyph-clip", "ViT-B/16"])
@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.name)
def test_a_method_in_python_has_the_settings_of_its_run(row, name, clips, capsys):
    passed = {**NEEDED.get(row.name, {}), **({"teacher_name": teacher_folder()} if row.name == "PromptKD" else {})}
    if name == "glyph-clip":
        passed = {field: value[:8] if field in LENGTHS else value for field, value in passed.items()}
    keys = {one.field: f"{row.method.node}.{one.key}" for one in row.method.settings()}
    options = [
        word for field, value in passed.items() for word in (keys[field], list(value) if field in LENGTHS else value)
    ]
    words = ["--trainer", row.name, "--dataset-config-file", "digits", "--backbone", name, *options]
    node = of_settings(read(*words)).TRAINER.get(row.method.node_name(), {})
    model = row.method(**passed).on(clips[name], ["zero", "one"])
    expected = method_of(row.method, node).as_config()
    if row.name == "PromptKD" and name == "glyph-clip":  # its only config is for twelve layers
        assert expected["PROMPT_DEPTH_VISION"] == 9
        assert "TRAINER.PROMPTKD.PROMPT_DEPTH_VISION is 8 instead of 9" in capsys.readouterr().out
        expected["PROMPT_DEPTH_VISION"] = 8
    assert model.method.as_config() == expected


def test_readmes_example_and_the_run_have_the_same_parameters(clips):
    models = [modprompt.MPL(**passed).on(clips["glyph-clip"], ["zero", "one"]) for passed in ({}, {"prompt_depth": 6})]
    assert [model.count_parameters()["trainable"] for model in models] == [91904] * 2


def test_a_value_that_was_passed_is_never_replaced(clips, clip_model, capsys):
    clip = clips["glyph-clip"]
    assert modprompt.MPL(n_ctx=2).on(clip, ["zero", "one"]).method.n_ctx == 2  # the default of the class
    assert repr(modprompt.MPL(n_ctx=2)) == "MPL(n_ctx=2)"
    with pytest.raises(UserError, match="PROMPT_DEPTH must be from 1 to 8, .* got 9"):
        modprompt.MPL(prompt_depth=9).on(clip, ["zero", "one"])
    for passed in ({"n_ctx": 16}, {"csc": True}):  # the file's CTX_INIT would leave them without effect
        assert modprompt.CoOp(**passed).on(clip, ["zero", "one"]).method.ctx_init == ""
    assert modprompt.CoOp(n_ctx=4).on(clip, ["zero", "one"]).method.ctx_init == "a photo of a"
    copied = pickle.loads(pickle.dumps(copy.copy(modprompt.MPL())))  # noqa: S301 - our own
    assert copied.on(clip_model, ["cat", "dog"]).method.prompt_depth == 3
    said = "note: this CLIP model has 3 text layers and 3 image layers, so TRAINER.MPL.PROMPT_DEPTH is 3 instead of 9."
    assert capsys.readouterr().out == f"{said}\n"


@pytest.mark.parametrize("words", [["--output-dir", "out"], []])
def test_what_a_run_leaves_is_no_class_among_ones_images(digits, monkeypatch, words):
    monkeypatch.chdir(digits)
    with pytest.raises(
        UserError,
        match="--output-dir: .* is inside the image folder .*digits_of_mine and would be read as a class. Use",
    ):
        read("--trainer", "MPL", "--root", ".", *words)
    read("--trainer", "MPL", "--root", ".", "--output-dir", digits.parent / "elsewhere")


def test_hyperparameters_are_those_selected_for_the_trainer(tmp_path, capsys):
    file = ROOT / "configs/experiments/demo_settings.selected.yaml"
    methods = read_yaml(file)["methods"]
    rate, rate_of_coop = (methods[name]["values"]["OPTIM.LR"] for name in ("MPL", "CoOp"))
    words = ("--trainer", "MPL", "--hyperparameters")
    assert read(*words, file)["OPTIM.LR"] == (rate, f"file {file}")
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: OPTIM.LR is set to {rate}, which was selected on validation images for MPL."
    ]
    coop = read(
        "--trainer", "CoOp", "--hyperparameters", "demo_settings", "OPTIM.MAX_EPOCH", "3", "DATASET.NUM_SHOTS", "4"
    )
    assert coop["OPTIM.LR"].value == rate_of_coop
    assert capsys.readouterr().out.endswith("were selected with other settings, so the values may not suit this run.\n")
    assert read(*words, "demo_settings", "OPTIM.LR", "7")["OPTIM.LR"].value == "7"
    assert (
        f"note: OPTIM.LR is 7, as set on the command line. The value {rate} that {file} contains for MPL is ignored."
        in capsys.readouterr().out
    )
    schedule = methods["Random schedule 1"]["values"]["OPTIM.LR"]
    vision = "[[0, 1], [0, 2], [3, 2], [0, 1], [2, 4], [3, 1]]"
    assert read(*words, file, "TRAINER.MPL.SCHEDULE_VISION", vision)["OPTIM.LR"].value == schedule
    assert "selected on validation images for Random schedule 1.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--trainer", "TCP"), "has no values for the trainer TCP with the config file "),
        (
            ("--trainer", "MPL", "--config-file", "glyph_selfreg"),
            "MPL with the config file glyph_selfreg. Use a trainer and a config file for which values were selected: CoOp with ",
        ),
        (("--trainer", "Mine"), "needs the config file of a method, but the run has none. Set --config-file."),
        (("--trainer", "MPL", "--hyperparameters", "not_here.json"), "not_here.json cannot be read"),
    ],
)
def test_hyperparameters_of_another_method_are_rejected(words, what):
    with pytest.raises(UserError, match=re.escape(what)):
        read(
            "--dataset-config-file", "digits", "--backbone", "glyph-clip", "--hyperparameters", "demo_settings", *words
        )
