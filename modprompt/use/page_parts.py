"""Parts of the page of `modprompt show`: bars of probabilities, pictures with captions, notes; all text is escaped."""

import base64
import io
from typing import Sequence, Tuple

from PIL import Image

from modprompt.storage.pages import html_text

STYLE = """
.mp-bars { display: grid; gap: .55rem; }
.mp-bar .mp-name { display: flex; justify-content: space-between; gap: 1rem; font-size: .95rem; }
.mp-bar .mp-name span:first-child { overflow-wrap: anywhere; }
.mp-bar .mp-track { height: .5rem; border-radius: .25rem; background: #8883; overflow: hidden; margin-top: .2rem; }
.mp-bar .mp-fill { height: 100%; border-radius: .25rem; background: #2f6fb3; min-width: 1px; }
.mp-bar:first-child .mp-name { font-size: 1.15rem; font-weight: 600; }
.mp-maps { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); }
.mp-maps figure { margin: 0; }
.mp-maps img { width: 100%; border-radius: .35rem; display: block; }
.mp-maps figcaption { font-size: .85rem; margin-top: .25rem; opacity: .85; }
.mp-note { padding: .5rem .75rem; border-radius: .35rem; border-left: 4px solid #2f6fb3; background: #8881; }
.mp-note + .mp-bars { margin-top: .75rem; }
.mp-note.mp-wrong { border-left-color: #c0392b; }
.mp-quiet { opacity: .75; font-size: .9rem; overflow-wrap: anywhere; }
.mp-image img { min-width: 10rem; min-height: 10rem; object-fit: contain; }
footer { display: none !important; }
"""


def bars(shares: Sequence[Tuple[str, float]]) -> str:
    """Bars of (name, probability from 0 to 1), in their order."""
    return f'<div class="mp-bars">{"".join(_bar(name, share) for name, share in shares)}</div>'


def _bar(name: str, share: float) -> str:
    percent = f"{100 * share:.1f}%"
    return (
        f'<div class="mp-bar"><div class="mp-name"><span>{html_text(name)}</span><span>{percent}</span></div>'
        f'<div class="mp-track"><div class="mp-fill" style="width:{percent}"></div></div></div>'
    )


def pictures(captioned: Sequence[Tuple[str, Image.Image]]) -> str:
    """Pictures with captions, in as many columns as there is room for; the page needs no other file for them."""
    return f'<div class="mp-maps">{"".join(_figure(caption, picture) for caption, picture in captioned)}</div>'


def _figure(caption: str, picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    text = html_text(caption)
    return f'<figure><img alt="{text}" src="data:image/jpeg;base64,{data}"><figcaption>{text}</figcaption></figure>'


def note(text: str, wrong: bool = False) -> str:
    """A line for whoever looks; nothing of no text."""
    return f'<div class="mp-note{" mp-wrong" if wrong else ""}">{html_text(text)}</div>' if text else ""


def quiet(text: str) -> str:
    """A line that stands back."""
    return f'<div class="mp-quiet">{html_text(text)}</div>'
