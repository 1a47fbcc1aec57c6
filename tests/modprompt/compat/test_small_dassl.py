"""Behaviour of the small Dassl's own parts; skipped where the real one is installed."""

import random
import sys

import numpy as np
import pytest
import torch
from dassl.config import clean_cfg, get_cfg_default
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import DatasetBase, Datum
from dassl.data.transforms import build_transform
from dassl.evaluation import build_evaluator
from dassl.metrics import compute_accuracy
from dassl.utils import (
    MetricMeter,
    Registry,
    check_availability,
    listdir_nohidden,
    load_checkpoint,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
    set_random_seed,
    setup_logger,
)
from PIL import Image
from torchvision.transforms.functional import to_tensor

from modprompt.compat import find
from tests.conftest import ROOT, one_line

pytestmark = pytest.mark.skipif(
    not str(__import__("dassl").__file__).endswith("stand_in/dassl/__init__.py"), reason="the real Dassl is installed"
)


def small_cfg(**settings):
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS, cfg.DATALOADER.NUM_WORKERS = (16, 16), ("normalize",), 0
    for key, value in settings.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


@pytest.fixture
def images(tmp_path):
    items = []
    for number in range(10):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((20, 24, 3), 20 * number, np.uint8)).save(path)
        items.append(Datum(impath=str(path), label=number % 2, classname="ab"[number % 2]))
    return items


def test_registry_refuses_a_second_registration_unless_forced_and_proposes_the_nearest_name():
    table = Registry("THINGS")

    @table.register()
    class Thing:
        pass

    with pytest.raises(KeyError, match="already contains an entry with the name .+Thing"):
        table.register(Thing)
    assert table.register(Thing, force=True) is Thing
    assert table.registered_names() == ["Thing"]
    with pytest.raises(ValueError, match="unknown value 'caltech101'. Did you mean 'Caltech101'"):
        check_availability("caltech101", ["EuroSAT", "Caltech101"])


def test_clean_cfg_keeps_the_trainers_own_node():
    cfg = get_cfg_default()
    cfg.TRAINER.MPL, cfg.TRAINER.COOP = type(cfg)(), type(cfg)()
    clean_cfg(cfg, "MPL")
    assert set(cfg.TRAINER) == {"NAME", "MPL"}


def test_datum_names_a_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.jpg"):
        Datum(impath=str(tmp_path / "gone.jpg"))


def test_few_shot_groups_follow_first_appearance(images):
    order = images[5:] + images[:5]
    base = DatasetBase(train_x=images, test=images)
    random.seed(1)
    drawn = base.generate_fewshot_dataset(order, num_shots=2)
    assert [item.label for item in drawn] == [1, 1, 0, 0]
    random.seed(1)
    expected = random.sample([item for item in order if item.label == 1], 2)
    assert drawn[:2] == expected
    assert base.generate_fewshot_dataset(order, num_shots=-1) is order


def test_training_loader_drops_the_partial_batch_and_sees_torchs_order(images):
    cfg = small_cfg()
    torch.manual_seed(4)
    loader = build_data_loader(cfg, "RandomSampler", images, 4, tfm=build_transform(cfg, True), is_train=True)
    batches = [batch["index"].tolist() for batch in loader]
    torch.manual_seed(4)
    torch.empty((), dtype=torch.int64).random_()  # the loader's base seed for workers
    seed = int(torch.empty((), dtype=torch.int64).random_())  # the sampler's
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed)).tolist()
    assert batches == [order[:4], order[4:8]]
    tests = build_data_loader(cfg, "SequentialSampler", images, 4, tfm=build_transform(cfg, False), is_train=False)
    samples = [*tests]
    assert [len(batch["label"]) for batch in samples] == [4, 4, 2]
    assert {*samples[0]} == {"img", "label", "domain", "impath", "index"}
    assert samples[0]["img"].shape == (4, 3, 16, 16)


def test_training_resizes_only_without_a_crop():
    def names(*choices):
        return [type(t).__name__ for t in build_transform(small_cfg(), choices=choices).transforms]

    assert names("normalize") == ["Resize", "ToTensor", "Normalize"]
    assert names("normalize", "random_flip", "random_resized_crop") == [
        "RandomResizedCrop",
        "RandomHorizontalFlip",
        "ToTensor",
        "Normalize",
    ]
    test = [type(t).__name__ for t in build_transform(small_cfg(), is_train=False).transforms]
    assert test == ["Resize", "CenterCrop", "ToTensor", "Normalize"]


RARER = ("random_translation", "random_crop", "colorjitter", "randomgrayscale", "gaussian_blur", "cutout")


@pytest.mark.parametrize("name", [*RARER, "gaussian_noise", "instance_norm"])
def test_rarer_transforms_give_an_image_of_the_size(name):
    image = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3))
    for seed in range(3):
        set_random_seed(seed)
        out = build_transform(small_cfg(), choices=(name,))(image)
        assert out.shape == (3, 16, 16)
        assert torch.isfinite(out).all()


def test_translation_is_bilinear_whatever_is_asked_for():
    image = Image.fromarray(np.random.RandomState(1).randint(0, 256, (16, 16, 3), dtype=np.uint8))
    enlarged = to_tensor(image.resize((18, 18), Image.BILINEAR))
    windows = [enlarged[:, top : top + 16, left : left + 16] for top in range(3) for left in range(3)]
    transform = build_transform(small_cfg(INPUT__INTERPOLATION="bicubic"), choices=("random_translation",))
    set_random_seed(1)
    found = [out for out in (transform(image) for _ in range(8)) if not torch.equal(out, to_tensor(image))]
    assert found
    assert all(any(torch.equal(out, window) for window in windows) for out in found)


def test_unknown_or_missing_transforms_are_named():
    with pytest.raises(ValueError, match="unknown transform 'flip'"):
        build_transform(small_cfg(), choices=("flip",))
    with pytest.raises(ValueError, match="'randaugment' is not available in the minimal Dassl"):
        build_transform(small_cfg(), choices=("randaugment",))


def test_evaluator_prints_the_lines_that_parsers_know(capsys):
    evaluator = build_evaluator(small_cfg(TEST__PER_CLASS_RESULT="True"), lab2cname={0: "a", 1: "b"})
    evaluator.process(torch.tensor([[2.0, 1], [0, 1], [5, 1], [0, 1]]), torch.tensor([0, 1, 1, 1]))
    results = evaluator.evaluate()
    out = capsys.readouterr().out.splitlines()
    assert out[:6] == [
        "=> result",
        "* total: 4",
        "* correct: 3",
        "* accuracy: 75.0%",
        "* error: 25.0%",
        "* macro_f1: 73.3%",
    ]
    assert list(results) == ["accuracy", "error_rate", "macro_f1", "perclass_accuracy"]
    assert results["perclass_accuracy"] == pytest.approx((100 + 200 / 3) / 2)


@pytest.mark.parametrize("seed", range(2))
def test_f1_and_confusions_are_scikit_learns_to_the_last_bit(tmp_path, seed):
    from sklearn.metrics import confusion_matrix, f1_score

    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.rand(300, 9, generator=generator), torch.randint(0, 8, (300,), generator=generator)
    logits[:, 3], labels[labels == 5] = -1, 2  # a class that is never predicted, and ones without images
    evaluator = build_evaluator(small_cfg(TEST__COMPUTE_CMAT="True", OUTPUT_DIR=str(tmp_path)))
    evaluator.process(logits, labels)
    y, predicted = labels.numpy(), logits.argmax(dim=1).numpy()
    expected = 100.0 * f1_score(y, predicted, average="macro", labels=np.unique(y))
    assert evaluator.evaluate()["macro_f1"] == expected
    matrix = torch.from_numpy(confusion_matrix(y, predicted, normalize="true"))
    assert torch.equal(torch.load(tmp_path / "cmat.pt"), matrix)


def test_accuracy_is_in_percent_and_meters_say_the_last_and_the_mean():
    metrics = MetricMeter()
    for value in (1.0, 3.0):
        metrics.update({"loss": torch.tensor(value)})
    assert str(metrics) == "loss 3.0000 (2.0000)"
    top1, top2 = compute_accuracy(torch.tensor([[3.0, 2, 1], [3, 2, 1]]), torch.tensor([0, 1]), topk=(1, 2))
    assert (top1.item(), top2.item()) == (50.0, 100.0)


def test_existing_log_gets_a_neighbour(tmp_path, monkeypatch, capsys):
    (tmp_path / "log.txt").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)
        setup_logger(str(tmp_path))
        print("hello")
        sys.stdout.close()
    logs = sorted(path.name for path in tmp_path.iterdir())
    assert len(logs) == 2
    assert logs[1].startswith("log.txt-")
    assert (tmp_path / "log.txt").read_text() == "old"
    assert (tmp_path / logs[1]).read_text() == "hello\n"


def test_checkpoint_round_trip(tmp_path):
    model, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    save_checkpoint({"state_dict": state, "epoch": 3}, str(tmp_path), is_best=True)
    assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-3\n"
    assert resume_from_checkpoint(str(tmp_path), other) == 3
    assert torch.equal(model.weight, other.weight)
    assert (tmp_path / "model-best.pth.tar").is_file()


def test_interrupted_save_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    save_checkpoint({"state_dict": {"a": torch.ones(1)}, "epoch": 1}, str(tmp_path), model_name="m.pth")

    def broken(obj, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint({"state_dict": {"a": torch.zeros(1)}, "epoch": 2}, str(tmp_path), model_name="m.pth")
    assert load_checkpoint(str(tmp_path / "m.pth"))["epoch"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "m.pth"]


def test_weights_that_fit_are_loaded_and_others_said(tmp_path, capsys):
    model = torch.nn.Linear(2, 2)
    torch.save({"weight": torch.full((2, 2), 7.0), "bias": torch.zeros(3)}, tmp_path / "w.pth")
    load_pretrained_weights(model, str(tmp_path / "w.pth"))
    assert model.weight.eq(7).all()
    assert "Tensors in the file that are not used: bias" in capsys.readouterr().out


def test_file_of_no_weights_or_of_another_model_is_a_line(tmp_path):
    model = torch.nn.Linear(2, 2)
    for content in (None, 7, {"state_dict": [1]}):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ValueError, match="w.pth contains no named tensors"):
            load_pretrained_weights(model, str(tmp_path / "w.pth"))
    (tmp_path / "checkpoint").write_text("model.pth.tar-1\n")
    for state in ({"weight": []}, {"weight": torch.ones(7), "bias": torch.ones(2)}, None, 7):
        torch.save({"state_dict": state, "epoch": 1}, tmp_path / "model.pth.tar-1")
        with one_line("is damaged or belongs to another model", ValueError):
            resume_from_checkpoint(str(tmp_path), model)


def test_listing_hides_dots(tmp_path):
    for name in ("b", "a", ".x"):
        (tmp_path / name).write_text("")
    assert listdir_nohidden(str(tmp_path), sort=True) == ["a", "b"]


def test_package_is_found_last_and_once(monkeypatch):
    place = str(ROOT / "modprompt" / "compat" / "stand_in")
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != place])
    before = [*sys.path]
    find.add_to_path()
    find.add_to_path()
    assert sys.path == [*before, place]
