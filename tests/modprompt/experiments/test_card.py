from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting.report import card
from tests.modprompt.experiments.fakes import TWO, by_hand, fill, results_below


def test_tables_are_means_over_seeds(experiment, tmp_path):
    found = experiment(TWO)
    fill(found, tmp_path, lambda job: None if job.seed == 3 and job.method.label == "MaPLe" else by_hand(job))
    runs = [job.folder for job in protocols.jobs(found) if job.kind == "training"]
    text = card(found, results_below(found, tmp_path), runs, {"name": "ViT-B/16"}, "owner/prompts", "mit")
    assert text.startswith("---\nlibrary_name: modprompt\n")
    assert "| MPL | 90.00 ± 4.08 | 60.00 ± 4.08 | 72.00 ± 4.25 |" in text.replace("**", "")
    assert "No mean, since runs are missing or differ:" in text
    assert f"modprompt predict prompts/{runs[0]} photo.jpg" in text
    assert all(f"- `{run}`" in text for run in runs)
