import json

import pytest

from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.descriptions import Descriptions
from modprompt.methods.named_files import default_sentences

BIRDS = {"Great_Tit": ["black cap", "yellow belly"], "owl": ["round face"]}


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_names_are_compared_without_case_and_other_classes_do_not_matter(tmp_path):
    found = descriptions.read(str(written(tmp_path / "birds.json", BIRDS)))
    assert found.of(["OWL", "great tit"]) == [("round face",), ("black cap", "yellow belly")]
    assert found.source == str(tmp_path / "birds.json")


@pytest.mark.parametrize("kept", ["descriptors/descriptors_birds.json", "descriptors/birds.json", "birds.json"])
def test_name_stands_for_a_file_in_the_folder_of_descriptors(kept, tmp_path, monkeypatch):
    written(tmp_path / kept, BIRDS)
    monkeypatch.chdir(tmp_path)
    assert descriptions.read("birds.json").source == kept


def test_what_is_nowhere_is_told_with_the_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = "No class descriptions found at dtd.json or descriptors/descriptors_dtd.json or descriptors/dtd.json"
    with pytest.raises(UserError, match=places):
        descriptions.read("dtd.json")
    with pytest.raises(UserError, match=r"No class descriptions found at /nowhere/x \(current folder: "):
        descriptions.read("/nowhere/x")
    for odd in ("a" * 5000, "a\0b", "."):
        with pytest.raises(UserError, match="No class descriptions found at "):
            descriptions.read(odd)


def test_names_of_eurosat_are_known_in_both_ways():
    short = Descriptions({"industrial buildings": ("flat roofs",), "residential buildings": ("gardens",)}, "here")
    long = Descriptions(
        {
            "industrial buildings or commercial buildings": ("flat roofs",),
            "residential buildings or homes or apartments": ("gardens",),
        },
        "here",
    )
    for found in (short, long):
        for names in (list(short.phrases), list(long.phrases), ["Residential Buildings", "Industrial_Buildings"]):
            assert {own for (own,) in found.of(names)} == {"flat roofs", "gardens"}


def test_classes_without_phrases_are_all_counted_and_some_named():
    found = Descriptions({"great tit": ("x",), "owl": ("y",)}, "birds.json")
    with pytest.raises(
        UserError, match=r"birds.json contains no phrases for 1 of 2 classes: 'Great Tits'. Did you mean"
    ):
        found.of(["Great Tits", "owl"])
    with pytest.raises(UserError, match=r"for 9 of 9 classes: '0', .*, '4' and 4 more\. Available: great tit, owl\."):
        found.of([str(number) for number in range(9)])


def test_hash_is_that_of_the_content(tmp_path):
    one = descriptions.read(str(written(tmp_path / "one.json", BIRDS)))
    laid_out = json.dumps(dict(reversed(list(BIRDS.items()))), indent=3).replace("Great_Tit", "GREAT TIT")
    laid_out = laid_out.replace("}", ', "OWL": ["round face"]}')  # twice, with the same phrases
    assert descriptions.read(str(written(tmp_path / "two.json", "\ufeff" + laid_out))).hash == one.hash
    assert len(one.hash) == 12
    assert descriptions.of_record(json.loads(json.dumps(one.as_record())), "a checkpoint").phrases == one.phrases
    for other in (
        {**BIRDS, "owl": ["flat face"]},
        {**BIRDS, "Great_Tit": BIRDS["Great_Tit"][::-1]},
        {"owl": ["round face"]},
    ):
        assert descriptions.read(str(written(tmp_path / "two.json", other))).hash != one.hash


LIST = "class 'owl': the value must be a list of non-empty phrases, got "
DAMAGED = {
    "empty": ("", "is not valid JSON"),
    "list": (["owl"], "must contain a JSON object .*, got .'owl'."),
    "no class": ({}, "must contain a JSON object .* with at least one class, got {}"),
    "empty list": ({"owl": []}, LIST),
    "one phrase": ({"owl": "round"}, f"{LIST}'round'"),
    "number": ({"owl": ["a", 3]}, LIST),
    "empty phrase": ({"owl": ["a", " \n"]}, LIST),
    "half a character": ('{"owl": ["\\ud800"]}', LIST),
    "twice": (
        '{"owl": ["a"], "OWL": ["b"]}',
        "class 'OWL': the class name occurs twice in the file, with different phrases",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_no_file_of_descriptions_is_one_line(case, tmp_path):
    content, message = DAMAGED[case]
    with pytest.raises(UserError, match=message) as caught:
        descriptions.read(str(written(tmp_path / "birds.json", content)))
    assert str(caught.value).startswith(str(tmp_path / "birds.json"))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("setting", "dataset", "trainer", "source"),
    [
        ("", "OxfordPets", "HiCroPL", "gpt_file/oxford_pets_prompt.json"),
        ("", "OxfordPets", "LightRA", "prompts/OxfordPets.json"),
        ("", "ImageNetV2", "LightRA", "prompts/ImageNet.json"),
        ("birds.json", "OxfordPets", "LightRA", "birds.json"),
        ("", "Digits", "HiCroPL", "digits_sentences.json"),
        ("digits", "OxfordPets", "LightRA", "digits_sentences.json"),
    ],
)
def test_setting_of_sentences_means_a_file(setting, dataset, trainer, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pets = ("gpt_file/oxford_pets_prompt.json", "prompts/OxfordPets.json")
    for path in ("birds.json", "prompts/ImageNet.json", *pets):
        written(tmp_path / path, BIRDS)
    default = default_sentences(dataset, trainer)
    assert descriptions.read_sentences(setting, dataset, default).source.endswith(source)
    assert descriptions.read_sentences("template", dataset, default) is None
