import matplotlib.font_manager
import pytest
import torch

from tools import glyphs


@pytest.fixture(scope="module")
def rendered():
    return glyphs.render_font(matplotlib.font_manager.findfont("DejaVu Sans"))


def test_every_character_of_a_font_is_rendered(rendered):
    assert len(rendered) == 62
    assert all(image.shape == (48, 48) and image.max() > 200 for image in rendered)


def test_training_images_are_in_range_and_differ_every_time(rendered):
    torch.manual_seed(0)
    masters = torch.stack([torch.from_numpy(image.copy()) for image in rendered[:10]]).unsqueeze(1)
    one, two = (glyphs.colour(glyphs.distort(masters)) for _ in range(2))
    assert one.shape == (10, 3, 32, 32)
    assert one.min() >= 0
    assert one.max() <= 1
    assert not torch.equal(one, two)


def test_missing_typefaces_say_what_to_install(monkeypatch):
    monkeypatch.setattr(glyphs.pkgutil, "iter_modules", list)
    with pytest.raises(ModuleNotFoundError, match="tools/fonts.txt"):
        glyphs.families()
