"""Glyphs of typefaces as training images: rendered once, then bent, thickened and blurred anew for every batch.

Shapes: B glyphs, S = 32 pixels, all images with ink 1 on paper 0 until `colour` paints them.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import string
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SIZE = 32
_MASTER = 48  # side of the stored glyphs
_MARGIN = 4  # empty border of the stored glyphs
_PER_FAMILY = 4  # font files used of one family
PENLIKE = (
    "caveat",
    "dancing_script",
    "delius",
    "great_vibes",
    "indie_flower",
    "kalam",
    "permanent_marker",
    "satisfy",
    "shadows_into_light",
    "yellowtail",
    "zeyada",
)  # typefaces drawn after pens
_PENLIKE_WEIGHT = 6  # how much more often than another family a pen-like one is shown


def families() -> dict[str, list[Path]]:
    """Font files of every installed `fontpkg_*` package (one typeface family each), evenly spaced if there are many.

    Raises:
        ModuleNotFoundError: if none is installed.
    """
    found = {}
    for module in pkgutil.iter_modules():
        if not module.name.startswith("fontpkg_"):
            continue
        spec = importlib.util.find_spec(module.name)
        assert spec is not None
        assert spec.origin is not None  # only packages with an __init__.py are listed
        folder = Path(spec.origin).parent
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".ttf", ".otf"))
        found[module.name.removeprefix("fontpkg_")] = files[:: max(1, -(-len(files) // _PER_FAMILY))]
    if not found:
        raise ModuleNotFoundError("No typeface packages are installed. Run `pip install --no-deps -r tools/fonts.txt`.")
    return dict(sorted(found.items()))


def _bitmap(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    left, top, right, bottom = (int(edge) for edge in font.getbbox(character))
    if right - left < 1 or bottom - top < 1:
        return None
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), character, font=font, fill=255)
    return image


def _fit(image: Image.Image) -> np.ndarray:
    room = _MASTER - 2 * _MARGIN
    scale = room / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    master = Image.new("L", (_MASTER, _MASTER))
    sized = image.resize((width, height), Image.Resampling.BICUBIC)
    master.paste(sized, ((_MASTER - width) // 2, (_MASTER - height) // 2))
    return np.asarray(master)


def render_font(path: Path) -> list[np.ndarray | None]:
    """One (48, 48) uint8 image for each of CHARACTERS; None for those that the font lacks.

    A font whose numerals are not ten different pictures (symbols, blanks) counts as lacking everything.
    """
    font = ImageFont.truetype(str(path), 72)
    missing = _bitmap(font, "\ue0ff")
    images: list[np.ndarray | None] = []
    for character in CHARACTERS:
        image = _bitmap(font, character)
        if image is None or (missing is not None and image.tobytes() == missing.tobytes()):
            images.append(None)
        else:
            images.append(_fit(image))
    numerals = {image.tobytes() for image in images[:10] if image is not None}
    return images if len(numerals) == 10 else [None] * len(CHARACTERS)


class Glyphs(NamedTuple):
    """N stored glyphs: images (N, 1, 48, 48) uint8, character numbers (N,), and how often each is shown (N,)."""

    images: torch.Tensor
    characters: torch.Tensor
    weights: torch.Tensor


def render_families(named_files: dict[str, list[Path]]) -> Glyphs:
    """Every character of every font; each family has the same weight, a pen-like one six times that."""
    images, characters, weights = [], [], []
    for family, files in tqdm(named_files.items(), desc="rendering type"):
        weight = _PENLIKE_WEIGHT if family in PENLIKE else 1
        for path in files:
            for character, image in enumerate(render_font(path)):
                if image is not None:
                    images.append(image)
                    characters.append(character)
                    weights.append(weight / len(files))
    return Glyphs(torch.from_numpy(np.stack(images)).unsqueeze(1), torch.tensor(characters), torch.tensor(weights))


def _uniform(n: int, low: float, high: float) -> torch.Tensor:
    return torch.empty(n).uniform_(low, high)


def _affine(n: int) -> torch.Tensor:
    """Random rotation (+-15 degrees), slant (+-0.4) and aspect (up to 1.5 to 1) as grid_sample matrices (B, 2, 3)."""
    angle, slant, aspect = _uniform(n, -0.26, 0.26), _uniform(n, -0.4, 0.4), _uniform(n, -0.4, 0.4).exp()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(n)
    rows = [cos * aspect, (slant * cos - sin) * aspect, zero, sin / aspect, (slant * sin + cos) / aspect, zero]
    return torch.stack(rows, dim=1).view(n, 2, 3) * 1.25  # 1.25: room for parts that turn outwards


def _bend(n: int) -> torch.Tensor:
    """Smooth random displacement (B, S, S, 2), in units of half an image, up to about a fifth of one."""
    coarse = torch.randn(n, 2, 4, 4) * _uniform(n, 0.0, 0.13).view(n, 1, 1, 1)
    fine = F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    return fine.permute(0, 2, 3, 1)


def _thicken(ink: torch.Tensor) -> torch.Tensor:
    """Strokes cut anew at a random height of a random blur: from hairline to heavy, edges left soft."""
    n = ink.shape[0]
    wide = F.avg_pool2d(F.avg_pool2d(ink, 3, 1, 1), 5, 1, 2)
    narrow = F.avg_pool2d(ink, 3, 1, 1)
    blur = torch.where(torch.rand(n, 1, 1, 1) < 0.6, wide, narrow)
    cut = _uniform(n, 0.12, 0.62).view(n, 1, 1, 1) * blur.amax(dim=(1, 2, 3), keepdim=True)
    return ((blur - cut) * 12).sigmoid()


def _crop_to_ink(ink: torch.Tensor) -> torch.Tensor:
    """Each glyph scaled to fill its image (height always, width by a random share), shifted a little."""
    n = ink.shape[0]
    on = ink[:, 0] > 0.5
    axis = torch.linspace(-1, 1, SIZE)

    def extent(line: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low = torch.where(line, axis, torch.tensor(9.0)).amin(dim=1).clamp(max=1)
        high = torch.where(line, axis, torch.tensor(-9.0)).amax(dim=1).clamp(min=-1)
        return (high + low) / 2, ((high - low) / 2).clamp(min=0.2)

    x_mid, x_half = extent(on.any(dim=1))
    y_mid, y_half = extent(on.any(dim=2))
    keep = torch.maximum(x_half, y_half)  # the scale that keeps the aspect
    stretch = _uniform(n, 0.0, 0.35)  # how far a narrow glyph is widened towards the full box
    x_half = keep ** (1 - stretch) * x_half**stretch
    loose = _uniform(n, 0.98, 1.2)
    zero = torch.zeros(n)
    x_mid, y_mid = x_mid + _uniform(n, -0.08, 0.08), y_mid + _uniform(n, -0.08, 0.08)
    theta = torch.stack([x_half * loose, zero, x_mid, zero, y_half * loose, y_mid], dim=1).view(n, 2, 3)
    return F.grid_sample(ink, F.affine_grid(theta, list(ink.shape), align_corners=False), align_corners=False)


def _coarsen(ink: torch.Tensor) -> torch.Tensor:
    """Most glyphs scanned coarsely (8 x 8 cells of average ink), the others left sharp or halved."""
    n = ink.shape[0]
    cells = F.avg_pool2d(ink, 4)
    cells = (cells * 16).round() / 16
    coarse = F.interpolate(cells, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    halved = F.interpolate(F.avg_pool2d(ink, 2), size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    choice = torch.rand(n, 1, 1, 1)
    return torch.where(choice < 0.75, coarse, torch.where(choice < 0.9, halved, ink)).clamp(0, 1)


def distort(glyphs: torch.Tensor) -> torch.Tensor:
    """Training images (B, 1, 32, 32) in [0, 1] of stored glyphs (B, 1, 48, 48) uint8."""
    n = glyphs.shape[0]
    grid = F.affine_grid(_affine(n), [n, 1, SIZE, SIZE], align_corners=False) + _bend(n)
    ink = F.grid_sample(glyphs.float() / 255, grid, align_corners=False)
    return _coarsen(_crop_to_ink(_thicken(ink)))


def colour(ink: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, 32, 32): white on black for two in three, otherwise random ink on random paper; some noise."""
    n = ink.shape[0]
    plain = torch.rand(n, 1, 1, 1) < 0.67
    dark, light = torch.rand(n, 3, 1, 1) * 0.45, 0.55 + torch.rand(n, 3, 1, 1) * 0.45
    swap = torch.rand(n, 1, 1, 1) < 0.5
    front = torch.where(plain, torch.ones(1), torch.where(swap, dark, light))
    back = torch.where(plain, torch.zeros(1), torch.where(swap, light, dark))
    noise = torch.randn(n, 1, SIZE, SIZE) * _uniform(n, 0.0, 0.06).view(n, 1, 1, 1)
    return (back + (front - back) * ink + noise).clamp(0, 1)
