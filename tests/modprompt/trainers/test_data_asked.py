import types

import pytest
from dassl.config import get_cfg_default
from dassl.data.data_manager import DatasetWrapper
from torch.utils.data import Dataset

import modprompt.trainers.all  # noqa: F401 - the keys of our trainers
from modprompt.errors import UserError
from modprompt.trainers import data_asked, mistakes
from modprompt.trainers.config import RunConfig

IGNORED = (
    "The reader of the data set Squares does not support {} and returned 2 classes and 8 training images. Remove this "
    "setting."
)
MORE = (
    "note: DATASET.NUM_SHOTS is 2, but the reader of the data set Squares returned up to 4 training images per class."
)


def read(cfg, looks_at, copies, domains=1):
    """What a reader that looks at these settings gives: four images of each of two classes, by domains."""
    for key in looks_at:
        cfg.clone().DATASET[key] if copies else getattr(cfg.DATASET, key)
    image = types.SimpleNamespace
    images = [image(label=number % 2, domain=number // 2 % domains) for number in range(8)]
    return types.SimpleNamespace(train_x=images, num_classes=2)


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(
    ("asked", "looks_at", "domains", "refused", "said"),
    [
        ({}, [], 1, "", ""),
        ({"SUBSAMPLE_CLASSES": "base"}, ["SUBSAMPLE_CLASSES"], 1, "", ""),
        ({"SUBSAMPLE_CLASSES": "base"}, ["NUM_SHOTS"], 1, "DATASET.SUBSAMPLE_CLASSES base", ""),
        ({"NUM_SHOTS": 4}, [], 1, "DATASET.NUM_SHOTS 4", ""),
        ({"TRAIN_ON_VAL": True}, ["NUM_SHOTS"], 1, "DATASET.TRAIN_ON_VAL True", ""),
        ({"NUM_SHOTS": 4}, ["NUM_SHOTS"], 1, "", ""),
        ({"NUM_SHOTS": 2}, ["NUM_SHOTS"], 1, "", MORE),
        ({"NUM_SHOTS": 2}, ["NUM_SHOTS"], 2, "", ""),  # as many of each domain
    ],
)
def test_setting_that_a_reader_ignores_is_refused(asked, looks_at, domains, refused, said, copies, capsys):
    asked = {"NAME": "Squares", **asked}
    cfg = RunConfig.of(get_cfg_default()).changed({f"DATASET.{key}": value for key, value in asked.items()})
    with data_asked.watched(cfg) as watched:
        dataset = read(watched, looks_at, copies, domains)
    if refused:
        with pytest.raises(UserError) as error:
            data_asked.require(dataset, cfg)
        assert str(error.value) == IGNORED.format(refused)
    else:
        data_asked.require(dataset, cfg)
    assert capsys.readouterr().out.strip() == said


def test_several_labels_for_an_image_are_refused():
    dataset = read(cfg := RunConfig.of(get_cfg_default()), [], copies=False)
    dataset.train_x[0].label = [0, 1]
    with pytest.raises(UserError, match="several labels"):
        data_asked.require(dataset, cfg)


def test_test_alone_needs_no_shots():
    cfg = RunConfig.of(get_cfg_default()).changed({"DATASET.NUM_SHOTS": 4, "TEST.ONLY": True})
    with data_asked.watched(cfg) as watched:
        dataset = read(watched, [], copies=False)
    data_asked.require(dataset, cfg)


def missing_key():
    print(get_cfg_default().HEAD)


def missing_caption():
    raise FileNotFoundError("caption is missing: a.txt")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (
            missing_key,
            "Cannot read the data set Squares: its reader needs the setting HEAD, which does not exist in this configuration. "
            "Run the training program of the codebase, which defines the setting.",
        ),
        (missing_caption, "Cannot read the data set Squares: caption is missing: a.txt"),
    ],
)
def test_what_a_reader_lacks_is_one_line(read, said):
    with pytest.raises(UserError) as error, mistakes.of_reader("Squares", "data"):
        read()
    assert str(error.value) == said


def test_reader_for_another_dassl_names_the_flag_and_a_fault_stays_one():
    def base(train_x=()):
        """What another Dassl's takes more for."""

    said = "Cannot read the data set Squares: .* argument 'eval_set'. .*--host with --host-dassl"
    with pytest.raises(UserError, match=said), mistakes.of_reader("Squares", "data"):
        base(eval_set=1)
    for fault in (TypeError("unhashable"), AttributeError("'a' has no attribute 'b'")):
        with pytest.raises(type(fault)), mistakes.of_reader("Squares", "data"):
            raise fault


class OwnLoading(Dataset):
    """A data set of a codebase whose loaders decode images themselves."""

    def __getitem__(self, index):
        raise NotImplementedError


class Renamed(DatasetWrapper):
    """A subclass that decodes as Dassl's DatasetWrapper does."""


def test_loaders_that_decode_images_themselves_support_only_the_rule_of_dassl():
    own, renamed = (types.SimpleNamespace(dataset=object.__new__(one)) for one in (OwnLoading, Renamed))
    data_asked.require_decoding([own, renamed], "dassl")
    data_asked.require_decoding([renamed], "photo")
    with pytest.raises(UserError, match="INPUT.DECODING photo is not supported by this program.* Set .* to dassl"):
        data_asked.require_decoding([renamed, own], "photo")
