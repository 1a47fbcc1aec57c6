from pathlib import Path

import pytest

from modprompt.errors import UserError
from modprompt.io import records
from modprompt.io.identity import FREE
from modprompt.io.settings import FLAGS, Settings, as_text, given, pairs, read_settings, settings_hash


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1"), (1.0, "1"), (1e-5, "0.00001"), ((2, 3), "[2, 3]"), ([2.0, "a"], ["2", "a"]), (True, "True")],
)
def test_one_value_has_one_text(one, other):
    assert as_text(one) == as_text(other)


@pytest.mark.parametrize(("one", "other"), [(True, 1), (0.1, 0.2), ("a", "b"), ([1], 1), ("", "None")])
def test_different_values_have_different_texts(one, other):
    assert as_text(one) != as_text(other)


def test_later_layers_win_and_free_settings_do_not_count():
    settings = given([{"OPTIM.LR": 0.1, "A.B": 1}, {"OPTIM.LR": "0.2", "DATASET.ROOT": "x", "TRAIN.PRINT_FREQ": 5}])
    assert settings == {"A.B": "1", "OPTIM.LR": "0.2"}


def test_hash_depends_on_keys_and_values_and_not_on_the_order():
    one = {"A": "1", "B": "2"}
    assert settings_hash(one) == settings_hash({"B": "2", "A": "1"})
    assert len({settings_hash(x) for x in (one, {"A": "1"}, {"A": "2", "B": "1"}, {"A": "1", "B": "22"})}) == 4


def test_file_is_read_flat(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text('A:\n  B: 1\n  C:\n    D: "(1, 2)"\nE: x\n')
    assert read_settings(str(path)) == {"A.B": 1, "A.C.D": "(1, 2)", "E": "x"}
    path.write_text("")
    assert read_settings(str(path)) == {}


def test_file_is_read_over_its_base(tmp_path):
    (tmp_path / "deep").mkdir()
    path, base = tmp_path / "deep" / "a.yaml", tmp_path / "base.yaml"
    path.write_text("_BASE_: ../base.yaml\nA: {B: 1}\n")
    with pytest.raises(UserError, match="config file .*base.yaml does not exist"):
        read_settings(str(path))
    base.write_text("A: {B: 0, C: 2}\nD: 3\n")
    assert read_settings(str(path)) == {"A.B": 1, "A.C": 2, "D": 3}
    assert set(Settings.read([str(path)]).sources().values()) == {f"file {path}"}
    base.write_text("_BASE_: deep/a.yaml\n")
    with pytest.raises(
        UserError,
        match="is not a valid YAML config file ._BASE_ nests config files too deeply, or a file includes itself",
    ):
        read_settings(str(path))


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "just words"])
def test_file_that_is_no_config_is_named(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="a.yaml is not a valid YAML config file"):
        read_settings(str(path))
    with pytest.raises(UserError, match=r"config file .*b.yaml does not exist\. Config files in .*: a.yaml\."):
        read_settings(str(tmp_path / "b.yaml"))
    path.rename(tmp_path / ".hidden.yaml")
    with pytest.raises(UserError, match=r"config file .*b.yaml does not exist\.$"):
        read_settings(str(tmp_path / "b.yaml"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["A", "1", "B"], "The option B has no value. Write options as KEY VALUE pairs"),
        (["OPTIM.LR=0.1", "OPTIM.MAX_EPOCH=2"], "The option OPTIM.LR=0.1 is not a KEY VALUE pair. Write OPTIM"),
        (["OPTIM.LR=0.1"], "The option OPTIM.LR=0.1 is not a KEY VALUE pair. Write OPTIM.LR 0.1 instead."),
        (["OPTIM.LR", "--output-dir", "X"], "The option OPTIM.LR has no value because the next argument is '--output-dir'."),
        (["OPTIM.LR", "OPTIM.MAX_EPOCH", "3"], "The option OPTIM.LR has no value because the next argument is 'OPTIM.MAX_EPOCH'."),
        (["A", "1", "--no-train"], "The flag --no-train must come before the KEY VALUE options"),
        (["A", "1", "--seed", "2"], "The flag --seed must come before the KEY VALUE options"),
    ],
)  # fmt: skip
def test_key_without_a_value_and_flag_behind_are_named(words, said):
    with pytest.raises(UserError) as raised:
        pairs(words)
    assert str(raised.value).startswith(said)


def test_value_may_begin_with_a_dash_and_look_like_a_key_among_pairs():
    assert pairs(["A", "-1", "B", "C.D"]) == [("A", "-1"), ("B", "C.D")]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET: {NAME: Digits, ROOT: /x}\nOPTIM: {LR: 0.1}\n")
    (tmp_path / "method.yaml").write_text("OPTIM: {LR: 0.2, MAX_EPOCH: 5.0}\nINPUT: {SIZE: [32, 32]}\n")
    return [str(tmp_path / "data.yaml"), "", str(tmp_path / "method.yaml")]


def test_later_sources_lie_over_earlier_ones_and_are_named(files):
    settings = Settings.read(files, {"SEED": 1, "OUTPUT_DIR": "out"}, ["SEED", "2", "OPTIM.MAX_EPOCH", "7"])
    assert {key: found.value for key, found in settings.items()} == {
        "DATASET.NAME": "Digits",
        "DATASET.ROOT": "/x",
        "OPTIM.LR": 0.2,
        "OPTIM.MAX_EPOCH": "7",
        "INPUT.SIZE": [32, 32],
        "SEED": "2",
        "OUTPUT_DIR": "out",
    }
    sources = {key: settings[key].source for key in ("DATASET.NAME", "OPTIM.LR", "SEED", "OUTPUT_DIR")}
    assert sources == {
        "DATASET.NAME": f"file {files[0]}",
        "OPTIM.LR": f"file {files[2]}",
        "SEED": "option",
        "OUTPUT_DIR": "flag --output-dir",
    }
    assert settings["OPTIM.LR"].where == files[2]
    assert {settings[key].where for key in ("SEED", "OUTPUT_DIR")} == {"command line"}
    assert [found.value for key, found in settings.given if key == "SEED"] == [1, "2"]


def test_texts_are_what_was_given_without_what_decides_nothing(files):
    assert dict(Settings.read(flags=dict.fromkeys(FLAGS, ""))) == dict(Settings.read(flags=dict.fromkeys(FLAGS))) == {}
    settings = Settings.read(files, {"SEED": 1, "RESUME": "x"}, ["TRAIN.PRINT_FREQ", "9"])
    assert settings.texts() == {
        "DATASET.NAME": "Digits",
        "INPUT.SIZE": "[32, 32]",
        "OPTIM.LR": "0.2",
        "OPTIM.MAX_EPOCH": "5",
        "SEED": "1",
    }
    assert list(settings.texts()) == sorted(settings.texts()) == list(settings.sources())
    assert not FREE & set(settings.texts())


def test_each_file_is_opened_once_and_may_change_behind_that(files, monkeypatch):
    opened, plain = [], records.read_text
    monkeypatch.setattr(records, "read_text", lambda path, *more: opened.append(str(path)) or plain(path, *more))
    settings = Settings.read(files, {"SEED": 1}, ["A", "1"])
    before = settings.texts(), settings.sources()
    Path(files[0]).write_text("DATASET: {NAME: EuroSAT}\n")
    assert (settings.texts(), settings.sources()) == before
    assert opened == [files[0], files[2]]


def test_what_cannot_be_read_is_refused(files):
    with pytest.raises(UserError, match="The option B has no value"):
        Settings.read(files, options=["A", "1", "B"])
    with pytest.raises(KeyError):
        Settings.read(flags={"OPTIM.LR": 1})  # has no flag


def test_config_that_is_not_there_has_a_nearest_name(tmp_path):
    (tmp_path / "eurosat.yaml").write_text("")
    said = "config file .*eurosatt.yaml does not exist.*Did you mean 'eurosat'.*: eurosat.yaml"
    with pytest.raises(UserError, match=said):
        read_settings(str(tmp_path / "eurosatt.yaml"))
