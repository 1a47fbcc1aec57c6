"""help(modprompt.MPL) says what --trainer MPL --help says."""

import inspect

import pytest

import modprompt
from modprompt.methods.table import METHODS


@pytest.mark.parametrize("name", [row.name for row in METHODS])
def test_every_setting_has_its_meaning_and_default(name):
    cls = getattr(modprompt, name)
    lines = [line for one in cls.settings() for line in (f"    {one.field} ", one.meaning)]
    assert [line for line in lines if line not in cls.__doc__] == []


def test_context_comes_first_and_configs_say_where_they_differ():
    signature = inspect.signature(modprompt.MPL)
    assert next(iter(signature.parameters)) == "n_ctx"
    assert signature.parameters["n_ctx"].default == modprompt.MPL().n_ctx == 2
    assert (
        "on ViT-B/16, the settings of configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml apply: n_ctx=1"
        in modprompt.MPL.__doc__
    )
    assert (
        "the settings of configs/trainers/TipAdapter/glyph.yaml apply: the defaults above"
        in modprompt.TipAdapter.__doc__
    )


def test_dir_shows_the_public_names_alone():
    assert modprompt.MPL.__name__ == "MPL"  # the import of a name adds modules to the package
    assert dir(modprompt) == sorted(modprompt.__all__)
    assert not {"annotations", "importlib", "mend_imports", "METHODS", "clip", "methods"} & {*dir(modprompt)}
