"""ImageNet's variants have test images alone, of all their classes."""

import shutil

import pytest

from modprompt.cli import train
from modprompt.errors import UserError
from tests.conftest import ROOT
from tests.modprompt.data import trees
from tests.modprompt.data.test_readers import read


def test_halves_are_refused(tmp_path):
    trees.imagenet_a(tmp_path)
    with pytest.raises(UserError, match="SUBSAMPLE_CLASSES new: ImageNetA has no base and new classes"):
        read("ImageNetA", tmp_path, half="new")


@pytest.mark.parametrize("module", ["imagenet_a", "imagenetv2"])  # which list their classes in two ways
def test_an_empty_class_folder_is_refused(module, tmp_path):
    """It would shift the labels of all behind it."""
    make, name, folder, *_ = trees.DATA_SETS[module]
    make(tmp_path)
    images = next(path for path in sorted((tmp_path / folder).rglob("*")) if path.is_file() and path.suffix != ".txt")
    shutil.rmtree(images.parent)
    images.parent.mkdir()
    (images.parent / "Thumbs.db").write_bytes(b"x")
    with pytest.raises(UserError, match=f"the class folder {images.parent} has no images"):
        read(name, tmp_path)


def test_fewer_classes_than_published_are_told(tmp_path, capsys):
    trees.imagenet_a(tmp_path)
    found = read("ImageNetA", tmp_path)
    classes = len(found.classnames)
    assert found.split_facts["classes"] == f"{classes} of 200 classes"
    assert f"ImageNetA: there are {classes} classes, the published data set has 200" in capsys.readouterr().out


def test_training_on_them_is_refused_before_anything_starts(mpl_flags, tmp_path, capsys):
    trees.imagenet_a(tmp_path)
    words = [*mpl_flags]
    words[words.index("--root") + 1] = str(tmp_path)
    words[words.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/imagenet_a.yaml")
    words += ["MODEL.BACKBONE.NAME", "glyph-clip"]
    assert train.main(words) == 2
    assert "ImageNetA has only test images, so that nothing is trained on it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
