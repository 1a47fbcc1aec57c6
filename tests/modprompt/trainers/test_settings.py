import pytest
from dassl.config import get_cfg_default

import modprompt.trainers.mpl  # noqa: F401 - registers the defaults
from modprompt.errors import UserError
from modprompt.trainers.settings import merge_file, merge_options


def test_unknown_key_of_a_file_gets_the_nearest(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("TRAINER:\n  MPL:\n    N_CONTEXT: 3\n")
    with pytest.raises(
        UserError, match=r"c.yaml: there is no config key 'TRAINER.MPL.N_CONTEXT'; did you mean 'TRAINER.MPL.N_CTX'"
    ):
        merge_file(get_cfg_default(), str(path))


def test_unknown_key_of_the_command_line_gets_the_nearest():
    with pytest.raises(UserError, match="command line: there is no config key 'OPTIM.LRR'; did you mean 'OPTIM.LR'"):
        merge_options(get_cfg_default(), ["OPTIM.LRR", "1"])


def test_wrong_type_names_the_key():
    with pytest.raises(UserError, match="command line, OPTIM.MAX_EPOCH: Type mismatch"):
        merge_options(get_cfg_default(), ["OPTIM.MAX_EPOCH", "many"])


def test_value_without_a_key_is_refused():
    with pytest.raises(UserError, match="KEY VALUE pairs; the last, 'OPTIM.LR', stands alone"):
        merge_options(get_cfg_default(), ["OPTIM.LR"])


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "just words"])
def test_broken_yaml_is_one_line(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match="c.yaml") as raised:
        merge_file(get_cfg_default(), str(tmp_path / "c.yaml"))
    assert "\n" not in str(raised.value)


def test_missing_file_lists_its_neighbours(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(UserError, match=r"no config file .*b.yaml; there is: a.yaml"):
        merge_file(get_cfg_default(), str(tmp_path / "b.yaml"))


def test_schedule_can_be_given_on_the_command_line():
    cfg = get_cfg_default()
    merge_options(cfg, ["TRAINER.MPL.SCHEDULE_VISION", "[[0, 1], [1, 2]]"])
    assert cfg.TRAINER.MPL.SCHEDULE_VISION == [[0, 1], [1, 2]]
