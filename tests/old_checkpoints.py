"""Checkpoints as versions before this one wrote them."""


def as_version_1(content: dict) -> dict:
    """The content of a checkpoint of this version, as the first one had it."""
    record = content["modprompt"]
    clip, method = record["clip"], record["method"]
    made_with = {f"{method['node']}.{key}": str(value) for key, value in method["config"].items()}
    made_with.update({"the method": method["learner"], "the weights of CLIP": clip["fingerprint"]})
    old = {key: value for key, value in content.items() if key != "modprompt"}
    return {
        **old,
        "made_with": made_with,
        "class_list": "",
        "backbone": clip["name"],
        "backbone_file": clip["file"],
        "settings": dict(record["run"]["settings"]),
    }
