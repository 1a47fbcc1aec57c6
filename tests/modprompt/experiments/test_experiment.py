"""A part of an experiment is what was asked for, and nothing that is not in it."""

import pytest

from modprompt.errors import UserError
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import narrowed_to


def test_parts_of_an_experiment(experiment):
    found = experiment()
    part = narrowed_to(found, methods=["CLIP"], seeds=[2])
    assert [(m.label, m.seeds) for m in part.methods] == [("CLIP", (2,))]
    assert (part.seeds, part.highlight) == ((2,), "CLIP")
    for what in ({"methods": ["CLOP"]}, {"seeds": [3]}, {"datasets": ["dtd"]}):
        with pytest.raises(UserError, match="small has no"):
            narrowed_to(found, **what)
    other = experiment(
        FILE.replace("{trainer: ZeroshotCLIP, config: glyph}", "{trainer: ZeroshotCLIP, config: glyph, seeds: [5]}")
    )
    with pytest.raises(UserError, match="no method of small has these seeds"):
        narrowed_to(other, methods=["CLIP"], seeds=[1])
