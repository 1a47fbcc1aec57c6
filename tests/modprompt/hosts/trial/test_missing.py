from modprompt.hosts.trial.missing import install, sort_out


def test_packages_have_the_names_that_pip_knows(tmp_path):
    found = sort_out(["sklearn", "ot", "einops", "pkg_resources"], tmp_path)
    assert found == (["einops", "POT", "setuptools<70", "scikit-learn"], [])
    assert install(found.packages) == 'pip install einops POT "setuptools<70" scikit-learn'


def test_a_name_that_nobody_knows_is_not_made_up(tmp_path):
    (tmp_path / "requirements.txt").write_text("torch>=1.9\n# my_helper\nrare-package==1.0\n\n-e ./here\n")
    assert sort_out(["rare_package", "my_helper"], tmp_path) == (["rare-package"], ["my_helper"])
