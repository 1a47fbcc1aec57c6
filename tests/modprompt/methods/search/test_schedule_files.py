"""A file in place of a schedule: read before anything is merged, so that the settings hold numbers and no path."""

import warnings

import numpy as np
import pytest

from modprompt.engine.schedule import Shape
from modprompt.errors import SettingError, UserError
from modprompt.io.settings import Settings
from modprompt.methods import table
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.file import SideOfSearch, expanded
from tests.conftest import one_line

TEXT, VISION = SideOfSearch("behind_start", ((0, 3), (1, 2))), SideOfSearch("before_ln_pre", ((0, 2), (0, 1), (3, 0)))
MPL = "TRAINER.MPL."


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with a schedule.json."""
    monkeypatch.chdir(tmp_path)
    schedule_file.write("schedule.json", {"text": TEXT, "vision": VISION}, {"seed": 1})
    return tmp_path


@pytest.fixture
def dpl(monkeypatch):
    """DPL and its other name in the table."""
    rows = [row for row in table.METHODS if "DPL" not in (row.name, row.of)]
    rows += [table.Row("DPL", "dpl", "prompts", "DPL"), table.Row("TrainerSubnet", "dpl", "prompts", "X", of="DPL")]
    monkeypatch.setattr(table, "METHODS", tuple(rows))


def option(*words):
    return Settings.read(options=[str(word) for word in words])


def values(settings):
    return {key: found.value for key, found in settings.items()}


def lengths_file(name, lengths=(1, 0)):
    """A file of the reference whose largest alphas are these lengths."""
    np.save(name, np.eye(4, dtype=np.float32)[list(lengths)])
    return name


@pytest.mark.parametrize(
    ("searched", "half", "warns"),
    [
        ("all", "base", True),
        ("all", "new", True),  # a test of what was trained so
        ("new", "base", True),
        ("all", "all", False),
        ("base", "base", False),
        ("base", "new", False),
        (None, "base", False),
        (7, "all", False),
    ],
)
def test_schedule_that_has_seen_new_classes_is_warned_of(searched, half, warns):
    said = {"dataset": "EuroSAT", **({} if searched is None else {"classes": searched})}
    schedule_file.write("schedule.json", {"text": TEXT, "vision": VISION}, said)
    words = [MPL + "SCHEDULE_TEXT", "@schedule.json", "DATASET.SUBSAMPLE_CLASSES", half]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expanded(option(*words, "DATASET.NAME", "EuroSAT"))
        expanded(option(*words, "DATASET.NAME", "Food101"))  # whose images it has not seen
        expanded(option(*words, "DATASET.NAME", "EuroSAT"), planned=True)
    assert len(caught) == warns
    assert all(
        f"schedule.json: the schedule was searched on {searched} classes of EuroSAT" in str(one.message)
        for one in caught
    )


def test_pairs_of_the_side_stand_in_place_of_the_file_and_what_goes_with_them_beside():
    found = expanded(option("TRAINER.IVLP.SCHEDULE_VISION", "@schedule.json", "OPTIM.LR", 1))
    assert values(found) == {
        "TRAINER.IVLP.SCHEDULE_VISION": [[0, 2], [0, 1], [3, 0]],
        "OPTIM.LR": "1",
        "TRAINER.IVLP.PLACE_VISION": "before_ln_pre",
        "TRAINER.IVLP.N_CTX_VISION": 2,
    }
    assert {one.source for one in found.values()} == {"option"}
    assert found.texts()["TRAINER.IVLP.SCHEDULE_VISION"] == "[[0, 2], [0, 1], [3, 0]]"


def test_hash_is_that_of_the_same_run_with_everything_written_out():
    written = option(MPL + "SCHEDULE_TEXT", "[[0, 3], [1, 2]]", MPL + "N_CTX", 3, MPL + "PLACE_TEXT", "behind_start")
    assert expanded(option(MPL + "SCHEDULE_TEXT", "@schedule.json")).texts() == written.texts()


def test_setting_of_a_config_gives_way_and_one_of_the_command_line_stays(folder):
    (folder / "a.yaml").write_text("TRAINER: {MPL: {N_CTX: 7, PLACE_TEXT: before_start}}\n")
    words = [MPL + "SCHEDULE_TEXT", "@schedule.json"]
    found = expanded(Settings.read(["a.yaml"], options=words))
    assert (found[MPL + "N_CTX"], found[MPL + "PLACE_TEXT"]) == ((3, "option"), ("behind_start", "option"))
    for more in ([*words, MPL + "N_CTX", "7"], [MPL + "N_CTX", "7", *words]):
        found = expanded(Settings.read(["a.yaml"], options=more))
        assert found[MPL + "N_CTX"] == ("7", "option")
        assert found[MPL + "PLACE_TEXT"].value == "behind_start"


def test_file_that_a_config_names_has_the_config_as_its_source(folder):
    (folder / "a.yaml").write_text("TRAINER: {MPL: {SCHEDULE_TEXT: '@schedule.json', N_CTX: 7}}\n")
    found = expanded(Settings.read(["a.yaml"]))
    assert found[MPL + "N_CTX"] == (3, "file a.yaml")
    assert found.sources() == dict.fromkeys((MPL + "N_CTX", MPL + "PLACE_TEXT", MPL + "SCHEDULE_TEXT"), "file a.yaml")


def test_file_that_a_later_value_replaces_is_not_read():
    key = MPL + "SCHEDULE_TEXT"
    found = expanded(option(key, "@not_there.json", key, "[[0, 1]]"))
    assert found.given == option(key, "[[0, 1]]").given


def test_layer_0_without_tokens_and_an_unsaid_place_set_nothing():
    schedule_file.write("none.json", {"text": SideOfSearch("", ((0, 0), (0, 2)))}, {})
    assert values(expanded(option(MPL + "SCHEDULE_TEXT", "@none.json"))) == {MPL + "SCHEDULE_TEXT": [[0, 0], [0, 2]]}


def test_method_that_is_not_ours_gets_pairs_and_place():
    found = expanded(option("TRAINER.MINE.SCHEDULE_TEXT", "@schedule.json"))
    assert set(found) == {"TRAINER.MINE.SCHEDULE_TEXT", "TRAINER.MINE.PLACE_TEXT"}


def test_bare_array_is_taken_for_its_side_with_a_warning():
    with pytest.warns(
        UserWarning, match="TRAINER.MPL.SCHEDULE_TEXT a.npy: a .npy file does not record .* ALPHAS_SWAPPED"
    ):
        found = expanded(option(MPL + "SCHEDULE_TEXT", "@" + lengths_file("a.npy")))
    assert found[MPL + "SCHEDULE_TEXT"].value == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("@not_there.json", "the file not_there.json does not exist, relative to /"),
        ("@", "cannot be read|there is no|is a folder"),
        ("@a.json", "a.json is not a valid schedule.json"),
        ("@a.npz", "files with the extension .npz are not supported"),
        ("@a.npy", "a.npy is damaged"),
        ("@text.json", "text.json has no schedule for the vision encoder"),
        ("@.", "is a folder"),
        ("@a.json/b.json", "the file a.json/b.json does not exist"),
    ],
)
def test_file_that_cannot_be_taken_is_one_line_with_the_setting(folder, word, why):
    for name in ("a.json", "a.npz", "a.npy"):
        (folder / name).write_text("no")
    schedule_file.write("text.json", {"text": TEXT}, {})
    with one_line(rf"^TRAINER.MPL.SCHEDULE_VISION: .*({why})", SettingError):
        expanded(option(MPL + "SCHEDULE_VISION", word))


def test_planned_run_leaves_the_name_of_a_file_that_is_not_there_yet(dpl):
    words = option(MPL + "SCHEDULE_TEXT", "@later.json", "TRAINER.DPL.IMG_ALPHA_PATH", "later.npy")
    assert expanded(words, planned=True).given == words.given
    lengths_file("later.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = expanded(words, planned=True)
    assert values(found) == {MPL + "SCHEDULE_TEXT": "@later.json", "TRAINER.DPL.LENGTHS_VISION": [1, 0]}


def test_file_that_has_changed_is_read_again():
    words = option(MPL + "SCHEDULE_TEXT", "@schedule.json")
    expanded(words)
    schedule_file.write("schedule.json", {"text": SideOfSearch("", ((0, 5), (5, 12), (0, 11)))}, {})
    assert expanded(words)[MPL + "SCHEDULE_TEXT"].value == [[0, 5], [5, 12], [0, 11]]


def test_settings_without_files_stay_the_same_object():
    settings = option(MPL + "SCHEDULE_TEXT", "[[0, 1]]", "OPTIM.NAME", "@x", "TRAINER.MPL.IMG_ALPHA_PATH", "x.npy")
    assert expanded(settings) is settings


@pytest.mark.usefixtures("dpl")
class TestAlphaFilesOfDPL:
    @pytest.mark.parametrize("node", ["DPL", "TRAINERSUBNET"])
    def test_schedule_of_a_search_is_what_it_is_for_schedules(self, node):
        files = (f"TRAINER.{node}.IMG_ALPHA_PATH", "schedule.json", f"TRAINER.{node}.TXT_ALPHA_PATH", "schedule.json")
        pairs = (f"TRAINER.{node}.SCHEDULE_VISION", "@schedule.json", f"TRAINER.{node}.SCHEDULE_TEXT", "@schedule.json")
        found = expanded(option(*files))
        assert values(found) == values(expanded(option(*pairs)))
        assert {one.source for one in found.values()} == {"option"}

    @pytest.mark.parametrize("none", ["", "None", "none"])
    def test_no_file_is_no_setting(self, none):
        words = ("TRAINER.DPL.IMG_ALPHA_PATH", none, "TRAINER.DPL.TXT_ALPHA_PATH", none, "OPTIM.LR", 1)
        assert values(expanded(option(*words, "TRAINER.DPL.ALPHAS_SWAPPED", "False"))) == {"OPTIM.LR": "1"}

    def test_two_bare_arrays_are_one_warning(self):
        lengths_file("a.npy")
        lengths_file("b.npy", (3, 3))
        words = ("TRAINER.DPL.IMG_ALPHA_PATH", "a.npy", "TRAINER.DPL.TXT_ALPHA_PATH", "b.npy")
        with pytest.warns(UserWarning, match="The original code exchanges the two names") as caught:
            found = expanded(option(*words))
        assert values(found) == {"TRAINER.DPL.LENGTHS_VISION": [1, 0], "TRAINER.DPL.LENGTHS_TEXT": [3, 3]}
        (said,) = [str(one.message) for one in caught]
        assert said.startswith("TRAINER.DPL.IMG_ALPHA_PATH a.npy, TRAINER.DPL.TXT_ALPHA_PATH b.npy: ")
        assert "ALPHAS_SWAPPED to True" in said

    def test_switch_exchanges_them_and_nothing_is_warned_of(self):
        lengths_file("a.npy")
        lengths_file("b.npy", (3, 3))
        words = ("TRAINER.DPL.IMG_ALPHA_PATH", "a.npy", "TRAINER.DPL.TXT_ALPHA_PATH", "b.npy")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = expanded(option(*words, "TRAINER.DPL.ALPHAS_SWAPPED", "True"))
        assert values(found) == {"TRAINER.DPL.LENGTHS_TEXT": [1, 0], "TRAINER.DPL.LENGTHS_VISION": [3, 3]}

    def test_switch_without_a_bare_array_is_warned_of(self):
        words = ("TRAINER.DPL.IMG_ALPHA_PATH", "schedule.json", "TRAINER.DPL.ALPHAS_SWAPPED", "True")
        with pytest.warns(UserWarning, match="ALPHAS_SWAPPED has no effect"):
            assert "TRAINER.DPL.SCHEDULE_VISION" in expanded(option(*words))

    @pytest.mark.filterwarnings("ignore:.*does not record its encoder")
    def test_lengths_of_a_config_give_way_and_those_typed_beside_a_file_are_refused(self, folder):
        lengths_file("a.npy")
        (folder / "a.yaml").write_text("TRAINER: {DPL: {LENGTHS_VISION: [1, 1], ALPHAS_SWAPPED: false}}\n")
        words = ["TRAINER.DPL.IMG_ALPHA_PATH", "a.npy"]
        found = expanded(Settings.read(["a.yaml"], options=words))
        assert values(found) == {"TRAINER.DPL.LENGTHS_VISION": [1, 0]}
        with pytest.raises(
            SettingError, match="and TRAINER.DPL.LENGTHS_VISION are both set on the command line. Remove either of them"
        ):
            expanded(option(*words, "TRAINER.DPL.LENGTHS_VISION", "[1, 1]"))

    @pytest.mark.filterwarnings("ignore:.*does not record its encoder")
    def test_lengths_that_are_typed_win_over_the_file_of_a_config(self, folder):
        lengths_file("a.npy")
        (folder / "a.yaml").write_text("TRAINER: {DPL: {IMG_ALPHA_PATH: a.npy}}\n")
        found = expanded(Settings.read(["a.yaml"], options=["TRAINER.DPL.LENGTHS_VISION", "[1, 1]"]))
        assert values(found) == {"TRAINER.DPL.LENGTHS_VISION": "[1, 1]"}

    @pytest.mark.parametrize(
        ("key", "word", "why"),
        [
            ("IMG_ALPHA_PATH", "b.npy", "the file b.npy does not exist"),
            ("TXT_ALPHA_PATH", "alpha_e1.npz", "files with the extension .npz are not supported"),
            ("ALPHAS_SWAPPED", "yes", " must be True or False, got 'yes'"),
        ],
    )
    def test_other_files_are_one_line(self, key, word, why):
        np.savez("alpha_e1.npz", text=np.zeros((2, 2)))
        with pytest.raises(SettingError, match=rf"^TRAINER.DPL.{key}.*{why}"):
            expanded(option(f"TRAINER.DPL.{key}", word))

    @pytest.mark.parametrize(
        ("array", "why"),
        [
            (
                np.zeros(3),
                r"must be an array of finite numbers of shape \(layers, options\), got float64 of shape \(3,\)",
            ),
            (np.zeros((0, 3)), "must be an array of finite numbers"),
            (np.zeros((2, 3), int), "must be an array of finite numbers.*int64"),
            (np.array([[0.1, np.nan]]), "must be an array of finite numbers"),
            (np.array([[{}, 1.0]], object), "is damaged .*Object arrays"),
        ],
    )
    def test_array_that_holds_no_alphas_is_one_line(self, array, why):
        np.save("a.npy", array)
        with one_line(why, SettingError):
            expanded(option("TRAINER.DPL.TXT_ALPHA_PATH", "a.npy"))


FIRST = [(row, side) for row in table.METHODS for side, key in row.first.items() if key]


@pytest.mark.parametrize(("row", "side"), FIRST, ids=[f"{row.name}-{side}" for row, side in FIRST])
def test_table_names_the_setting_that_layer_0_goes_by(row, side):
    def made(n, steps):
        return row.method.of({row.first[side]: n, f"SCHEDULE_{side.upper()}": steps, **depth}).schedules(Shape(3, 3))

    keys = {one.key for one in row.method.settings()}
    depth = {key: 2 for key in ("PROMPT_DEPTH", "PROMPT_DEPTH_TEXT", "PROMPT_DEPTH_VISION") if key in keys}
    deeper = ((0, 1),) if row.name == "TCP" else ()  # without which it is none
    assert getattr(made(5, ((0, 5), *deeper)), side)[0].add == 5
    with pytest.raises(
        UserError, match=rf"layer 0: the number of added tokens must be 5 .{row.first[side]}., but is 4"
    ):
        made(5, ((0, 4),))


def test_table_knows_every_side_that_can_be_written_out_and_every_node():
    def right(row):
        written = {one.field[len("schedule_") :] for one in row.method.settings() if one.field.startswith("schedule_")}
        return set(row.first) == set(row.sides) == written and row.method.node in (row.node, "")

    assert [row for row in table.METHODS if not right(row)] == []
