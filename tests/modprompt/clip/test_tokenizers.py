"""Ids of texts by a CLIP's own tokenizer files are open_clip's, and a tokenizer of another CLIP is refused."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from modprompt.clip.tokenizers import FileTokenizer, TooLong
from modprompt.errors import UserError
from tests import small_tokenizers
from tests.conftest import one_line, process_kept
from tests.other_clips import other_package

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages that read the files
TEXTS = ["a photo of a cat", "A Photo, of a CAT!", "golden  retriever .", "", "x"]
KINDS = {  # length, cleaning, whether the end is written as 0; padding and end that come out
    "siglip": (64, "canonicalize", False, 1, 1),
    "gemma": (64, "canonicalize", False, 0, 1),
    "bert": (32, "whitespace", True, 0, 0),
    "roberta": (77, "whitespace", False, 1, 2),
    "xlmr": (77, "whitespace", False, 1, 2),
    "nllb": (77, "whitespace", False, 1, 2),
}


def read(folder, length=64, **given):
    return FileTokenizer(folder, length, **given)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_open_clips_and_facts_say_padding_and_end(kind, tmp_path):
    length, cleaning, zero_end, padding, end = KINDS[kind]
    folder = small_tokenizers.write(tmp_path, kind)
    ours = read(folder, length=length, clean=cleaning, strip_sep_token=zero_end)
    with process_kept():
        how = {"context_length": length, "clean": cleaning, "strip_sep_token": zero_end}
        theirs = other_package("open_clip").tokenizer.HFTokenizer(str(folder), **how)
    assert [ours.row(text) for text in TEXTS] == theirs(TEXTS).tolist()
    facts = ours.facts
    assert (facts.length, facts.padding, facts.end, facts.cleaning) == (length, padding, end, cleaning)
    words = ours.words(TEXTS[0])
    row = ours.row(TEXTS[0])
    first = row.index(words[0])
    assert row[first : first + len(words)] == words
    assert row[first + len(words)] == end
    assert set(row[first + len(words) + 1 :]) == {padding}


def test_of_a_text_that_does_not_fit_nothing_is_cut(tmp_path):
    ours = read(small_tokenizers.write(tmp_path, "bert"), length=5)
    assert len(ours.row("cat dog cat")) == 5
    with pytest.raises(TooLong):
        ours.row("cat dog cat dog")
    with pytest.raises(UserError, match="is not valid UTF-8"):
        ours.words("\udc80")


def test_identity_is_of_the_files_and_not_of_their_place(tmp_path):
    folder = small_tokenizers.write(tmp_path / "a", "xlmr")
    one = read(folder)
    moved = Path(shutil.copytree(folder, tmp_path / "b"))
    (moved / "README.md").write_text("no part of it")
    assert read(moved).facts == one.facts
    assert read(moved, clean="canonicalize").facts != one.facts
    (moved / "special_tokens_map.json").write_text("{}")
    assert read(moved).facts.sha256 != one.facts.sha256
    assert copy.deepcopy(one) is one


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            (20, None, None),
            "has 20 token embeddings, .* the tokenizer has .* tokens, padding id 1 and end id 2. Use the tokenizer that .*$",
        ),
        ((400, 0, None), "padding id 0 and end id None, but the tokenizer .* padding id 1 and end id 2"),
        ((400, 1, 49407), "padding id 1 and end id 49407, but the tokenizer"),
    ],
)
def test_another_clips_tokenizer_is_refused(asked, message, tmp_path):
    tokenizer = read(small_tokenizers.write(tmp_path, "xlmr"))
    tokenizer.require_fitting("this", 400, None, 2)
    with pytest.raises(UserError, match=f"^this: the text encoder .*{message}"):
        tokenizer.require_fitting("this", *asked)


def test_padding_in_front_and_no_padding_are_refused(tmp_path):
    with pytest.raises(UserError, match="pads on the left"):
        read(small_tokenizers.write(tmp_path / "a", "gemma", padding_side="left"))
    folder = small_tokenizers.write(tmp_path / "b", "bert")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="it has no end token or no padding token"):
        read(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0"}'])
def test_damaged_files_are_one_line(content, tmp_path):
    folder = small_tokenizers.write(tmp_path, "bert")
    (folder / "tokenizer.json").write_text(content)
    with one_line("The tokenizer in .* cannot be read"):
        read(folder)


def test_code_of_a_tokenizers_own_is_not_run(tmp_path):
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    folder = small_tokenizers.write(tmp_path, "bert", **own)
    (folder / "own.py").write_text("raise SystemExit('it was run')\n")
    with pytest.raises(UserError, match="The tokenizer in .* cannot be read"):
        read(folder)
