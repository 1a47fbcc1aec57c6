"""Searches in Python: a loop of both kinds of steps, what is found, files; and for every method: runs, or the line."""

import re

import pytest
import torch
import yaml

import modprompt
from modprompt.engine.schedule import PLACES, Schedule
from modprompt.errors import UserError
from modprompt.methods.search.over import Search
from modprompt.methods.search.space import BETAS
from modprompt.methods.table import METHODS, row_of
from tests.conftest import RESNET_HEADS, ROOT
from tests.methods import small

NAMES = ["cat", "dog", "a golden retriever"]
OTHERS = ["lynx", "wolf"]
SEARCHING = {
    "DPLSearch": modprompt.DPLSearch(n_ctx_text=2, n_ctx_vision=3),
    "MPL": Search(add=2).over(small(modprompt.MPL)),
    "CoOp": Search(add=1, remove=0).over(modprompt.CoOp(n_ctx=2)),
    "PromptSRC": Search(tokens_weight=0.1, sides="vision").over(small(modprompt.PromptSRC)),
}


def batch(seed=0, size=32):
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(seed)), torch.tensor([0, 1, 2, 1])


def values(parameters):
    return [one.detach().clone() for one in parameters]


def differ(before, parameters):
    return [not torch.equal(one, two) for one, two in zip(before, parameters)]


def alternation(model, size=32):
    """A step of the alphas, then one of the prompts; which of (alphas, prompts) each has changed."""
    alphas, prompts = model.alpha_parameters(), model.prompt_parameters()
    kinds = (
        (torch.optim.Adam(alphas, lr=0.01, betas=BETAS), model.alpha_loss, 0),
        (torch.optim.SGD(prompts, lr=0.01), model.loss, 1),
    )
    changed = []
    for optimiser, loss_of, seed in kinds:
        before = values(alphas), values(prompts)
        model.zero_grad()
        loss = loss_of(*batch(seed, size))
        assert torch.isfinite(loss)
        loss.backward()
        optimiser.step()
        changed.append((any(differ(before[0], alphas)), any(differ(before[1], prompts))))
    return changed


@pytest.fixture(params=SEARCHING)
def searching(request, clip_model):
    torch.manual_seed(2)
    return SEARCHING[request.param].on(clip_model, NAMES, epochs=2)


def test_each_kind_of_step_changes_its_own_parameters(searching):
    assert alternation(searching) == [(True, False), (False, True)]
    everything = {id(one) for one in searching.prompt_learner.parameters()}
    both = [*searching.alpha_parameters(), *searching.prompt_parameters()]
    assert len(both) == len(everything)
    assert {id(one) for one in both} == everything


def test_what_is_found_is_a_schedule_and_comes_back_from_a_file(searching, clip_model, tmp_path):
    alternation(searching)
    found = searching.found()
    assert set(found) == set(searching.prompt_learner.options)
    for side, one in found.items():
        own = getattr(searching.prompt_learner.schedules, side)
        assert isinstance(one.schedule, Schedule)
        assert (len(one.schedule), one.schedule.place) == (len(own), own.place)
        assert all(-1 <= margin <= 1 for margin in one.margins)
    searching.save(tmp_path / "search.pt")
    again = modprompt.load(tmp_path / "search.pt", clip_model)
    assert (again.method, again.found()) == (searching.method, found)
    images, _ = batch()
    with torch.no_grad():
        assert torch.equal(again(images), searching.eval()(images))


def test_other_classes_have_the_same_prompts_and_alphas(searching):
    other = searching.with_classes(OTHERS)
    assert other.found() == searching.found()
    assert all(one is two for one, two in zip(other.prompt_learner.parameters(), searching.prompt_learner.parameters()))
    images, _ = batch()
    before = other(images)
    assert before.shape == (4, 2)
    with torch.no_grad():
        searching.alpha_parameters()[0].add_(torch.randn(searching.alpha_parameters()[0].shape))
    assert not torch.equal(other(images), before)


def test_what_is_decided_is_so_within_its_block_alone(searching):
    images, _ = batch()
    learner, mixed = searching.prompt_learner, searching(images)
    with learner.decided({side: one.path for side, one in searching.found().items()}):
        decided = searching(images)
        for side, one in searching.found().items():
            assert all(weights[place] == 1 for weights, place in zip(learner.weights(side), one.path))
    assert not torch.equal(decided, mixed)
    assert torch.equal(searching(images), mixed)


def test_a_cap_that_no_path_keeps_is_told(clip_model):
    model = Search(most_tokens=1).over(modprompt.VPT(n_ctx_vision=2)).on(clip_model, NAMES)
    with pytest.raises(UserError, match="No schedule has at most 1 prompt tokens over all layers"):
        model.found()


@pytest.mark.parametrize("what", ["alpha_parameters", "found"])
def test_a_model_that_does_not_search_has_no_alphas(what, clip_model):
    model = small(modprompt.MPL).on(clip_model, NAMES)
    with pytest.raises(UserError, match="MPL does not search"):
        getattr(model, what)()
    with pytest.raises(UserError, match="MPL does not search"):
        model.alpha_loss(*batch())


@pytest.mark.parametrize(
    "method", [modprompt.DPLSearch(n_ctx_text=2, n_ctx_vision=0), Search().over(modprompt.CoOp(n_ctx=2))], ids=repr
)
def test_text_sides_are_searched_in_front_of_a_resnet(method, resnet_file, tmp_path):
    clip_model, _ = modprompt.load_clip(resnet_file, device="cpu", activation="quick_gelu", heads=RESNET_HEADS)
    model = method.on(clip_model, NAMES)
    assert alternation(model, size=64) == [(True, False), (False, True)]
    assert set(model.found()) == {"text"}


# ---------------------------------------------------------------------- every method: runs, or the line that refuses it

PAGE = (ROOT / "docs" / "schedule.md").read_text()
TABLE = PAGE[PAGE.index("| method | `PLACE_TEXT`") :].partition("\n\n")[0].splitlines()[2:]
ROWS = [
    [method, *cells]
    for methods, *cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in TABLE)
    for method in re.split(", (?=`)", methods)
]


def method_of(cell, **more):
    """A method as a cell of the page names it: its name, and settings that are not its defaults."""
    name, *settings = re.findall(r"`(.+?)`", cell)
    given = {key: yaml.safe_load(value) for key, _, value in (one.partition(" ") for one in settings)}
    cls = row_of(name).method
    return cls.of({**small(cls).as_config(), **given, **more})


def said(work, *given):
    """What becomes of it: runs, or the line."""
    try:
        work(*given)
    except UserError as error:
        return str(error)
    return "runs"


def is_true(found, cell):
    """Whether the page's cell says what was found; a name that is not known is told with those that are."""
    return found == cell == "runs" or (found + " ").startswith(cell.strip("`") if cell[0] == "`" else "\n")


def require_place(cell, key, place, clip_model):
    method_of(cell, **{key: place}).on(clip_model, NAMES).loss(*batch()).backward()


def require_search(cell, clip_model):
    model = Search().over(method_of(cell)).on(clip_model, NAMES)
    assert alternation(model) == [(True, False), (False, True)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_places_and_searches_run_or_are_refused_as_the_page_has_it(row, clip_model):
    wrong = []
    for side, cell in zip(PLACES, row[1:3]):
        key, name = f"PLACE_{side.upper()}", row[0].split("`")[1]
        cell = f"`{name}: unknown name '{key}'`" if cell == "none" else cell
        found = {said(require_place, row[0], key, place, clip_model) for place in PLACES[side]}
        wrong += [line for line in found if line != "runs" and not is_true(line, cell)]
        wrong += [cell] if (cell == "runs") != (found == {"runs"}) else []
    found = said(require_search, row[0], clip_model)
    assert wrong + ([] if is_true(found, row[3]) else [found]) == []


def test_methods_without_a_row_have_no_places_and_refuse_a_search():
    shown = {row[0].split("`")[1] for row in ROWS}
    others = [row.method for row in METHODS if row.name not in shown]
    assert len(others) > 10
    assert [cls for cls in others if {"PLACE_TEXT", "PLACE_VISION"} & {one.key for one in cls.settings()}] == []
    lines = {cls: said(Search().over, small(cls)) for cls in others}
    assert {
        cls: line for cls, line in lines.items() if not re.match("ON (does not work for|True is not supported)", line)
    } == {}


@pytest.mark.parametrize(("name", "side"), [("MPL", "text"), ("IVLP", "vision"), ("VPT", "text"), ("CoOp", "vision")])
def test_a_side_alone_is_searched_where_the_method_has_it(name, side, clip_model):
    def run():
        model = Search(sides=side).over(small(row_of(name).method)).on(clip_model, NAMES)
        assert set(model.found()) == {side}

    assert said(run) == (
        "runs"
        if side in row_of(name).first
        else f"SIDES {side} is not supported, because {name} learns no {side} prompts."
    )


@pytest.mark.parametrize(
    ("search", "method", "line"),
    [
        ({}, modprompt.MPL(schedule_text=[[0, 2]]), "SIDES: SCHEDULE_TEXT is given, so no schedule can be searched"),
        ({"sides": "vision"}, modprompt.MPL(schedule_vision=[[0, 2]]), "SIDES: SCHEDULE_VISION is given, so no"),
    ],
)
def test_what_is_written_out_is_not_searched(search, method, line):
    with pytest.raises(modprompt.SettingError, match=line):
        Search(**search).over(method)


def test_the_other_side_may_be_written_out(clip_model):
    method = modprompt.MPL(n_ctx=2, schedule_text=[[0, 2], [1, 1]], prompt_depth=2)
    model = Search(sides="vision").over(method).on(clip_model, NAMES)
    assert model.prompt_learner.schedules.text == Schedule([(0, 2), (1, 1), (0, 0)], "text")
    assert set(model.found()) == {"vision"}
