import random

import torch
import torch.nn.functional as F

from modprompt.clip.build import build_clip
from modprompt.clip.package import import_clip
from tools import train_glyph_clip as training


def test_captions_speak_of_the_character_and_use_known_words_only():
    clip, rng = import_clip(), random.Random(0)
    words = training.Words(clip)
    texts = [training.caption(character, rng) for character in (7, 10, 36) for _ in range(200)]
    assert all("seven" in text for text in texts[:200])
    assert all("a" in text.replace(".", " ").split() for text in texts[200:])
    assert (words.position[clip.tokenize(texts).long()] >= 0).all()


def test_loss_with_one_image_per_caption_is_clips():
    torch.manual_seed(0)
    image, text = F.normalize(torch.randn(4, 8), dim=1), F.normalize(torch.randn(4, 8), dim=1)
    target = torch.tensor([2, 0, 3, 1])
    logits = 10 * image @ text.T
    expected = (F.cross_entropy(logits, target, label_smoothing=0.05) + F.cross_entropy(logits.T, target.argsort())) / 2
    torch.testing.assert_close(training.contrastive_loss(image, text, target, torch.tensor(10.0)), expected)


def test_encoders_of_the_training_are_clips_own_and_survive_the_file(tmp_path, monkeypatch):
    from modprompt.clip import read

    clip = import_clip()
    torch.manual_seed(0)
    model, words = training.build(64).eval(), training.Words(clip)
    table = torch.randn(len(words.ids), 64) * 0.02
    training.save(model, table, words, tmp_path / "m.npz")
    monkeypatch.setattr(read, "EMBEDDED_FILE", tmp_path / "m.npz")
    again = build_clip(read.read_embedded()).float()
    tokens = clip.tokenize(["a photo of the number seven.", "the letter g."]).long()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for ours, theirs in (
            (training.text_features(model, table, words, tokens), again.encode_text(tokens)),
            (training.image_features(model, images), again.encode_image(images)),
        ):
            torch.testing.assert_close(ours, F.normalize(theirs, dim=-1), atol=3e-3, rtol=0)
