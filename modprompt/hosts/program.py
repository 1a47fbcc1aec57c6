"""What a codebase's train.py asks for beyond the flags of the family, so that our trainer can be started by it.

    python -m modprompt.hosts.program CODEBASE TRAINER PROTOCOL DATASET_CONFIG_FILE    print it, a word a line

It goes by what the program does, not by the codebase's name, so that forks get the same.
"""

import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from modprompt.errors import UserError
from modprompt.hosts.words_of import Flag, Words, read_words

# what codebases of the family call the protocols
PROTOCOLS = {
    "base2new": ("B2N", "base2new", "base2novel", "base_to_new", "base_to_novel", "B2B"),
    "few_shot": ("FS", "few_shot", "fewshot", "few-shot"),
    "cross_dataset": ("CD", "XD", "cross_dataset", "cross-dataset", "crossdataset"),
}
# flags that whoever starts it always gives
GIVEN = ("root", "seed", "trainer", "output_dir", "config_file", "dataset_config_file")
TRAINER = ("cfg.TRAINER.NAME", "args.trainer")


class Asks(NamedTuple):
    """What is to be given to a train.py beyond the family's flags.

    flags: in front of the KEY VALUE options.
    options: KEY, VALUE, ...; what a user gives goes behind them.
    trainer: what --trainer must say.
    unknown: required flags and options for which nobody knows a value.
    """

    flags: Tuple[str, ...]
    options: Tuple[str, ...]
    trainer: str
    unknown: Tuple[str, ...] = ()


def asks_of(
    folder: Path, trainer: str, protocol: str = "base2new", dataset: str = "EuroSAT", program: str = "train.py"
) -> Asks:
    """What the program of a codebase asks for.

    Args:
        folder: of the codebase.
        trainer: name of our trainer in it.
        protocol: a key of PROTOCOLS.
        dataset: the DATASET.NAME of the run.
        program: its name in the folder.

    Raises:
        UserError: if the program is not there, is no Python, or there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"there is no protocol {protocol!r}: {', '.join(PROTOCOLS)}")
    words = read_words(folder / program)
    options, unknown = [], []
    for key in words.looked_up:
        allowed = words.allowed.get(f"option {key}", words.allowed.get(f"cfg.{key}", ()))
        value = _value(key, allowed, protocol, dataset, words.defaults.get(key))
        if value is None:
            unknown.append(key)
        else:
            options += [key, value]
    name = _trainer_flag(words, trainer)
    if name != trainer:
        options += ["TRAINER.NAME", trainer]  # the options are merged behind what looks at the flag
    if words.defaults.get("DATASET.NOISE_LABEL") is True:
        options += ["DATASET.NOISE_LABEL", "False"]  # labels are wrong on purpose there
    flags: List[str] = []
    for dest, flag in words.flags.items():
        asked = _flag(words, dest, flag, protocol, dataset)
        if asked is None:
            unknown.append(flag.name)
        else:
            flags += asked
    return Asks(tuple(flags), tuple(options), name, tuple(unknown))


def _trainer_flag(words: Words, trainer: str) -> str:
    """What --trainer must say: ours, or where only other names are let through the first of those."""
    known = [words.allowed.get(subject, ()) for subject in TRAINER]
    known.append(words.flags["trainer"].choices if "trainer" in words.flags else ())
    known = [names for names in known if names]
    if all(trainer in names for names in known):
        return trainer
    common = [name for name in known[0] if all(name in names for names in known)]
    return common[0] if common else trainer


def _flag(words: Words, dest: str, flag: Flag, protocol: str, dataset: str) -> Optional[Tuple[str, ...]]:
    """The words for a flag of its parser: () if it needs none, None if nobody knows its value."""
    if dest in GIVEN:
        return ()
    sets = [(key, guarded) for key, (name, guarded) in words.copied.items() if name == dest]
    if ("MODEL.BACKBONE.NAME", True) in sets and isinstance(flag.default, str) and flag.default:
        return (flag.name, "")  # else its default takes the place of what the config file says
    decides = ("DATASET.NAME", False) in sets and flag.default in (None, "")
    if not (flag.required or decides):
        return ()
    allowed = flag.choices or words.allowed.get(f"args.{dest}", ())
    value = _value("dataset" if decides else dest, allowed, protocol, dataset, None)
    return None if value is None else (flag.name, value)


def _value(name: str, allowed: Tuple[str, ...], protocol: str, dataset: str, default: object) -> Optional[str]:
    """A value for something of this name, one of those that are allowed if any are known; None if nobody knows one."""
    if name.lower().replace("-", "_") in ("dataset", "dataset_name", "data_name", "dataset.name"):
        return next((value for value in allowed if value.lower() == dataset.lower()), None if allowed else dataset)
    for spelled in PROTOCOLS[protocol]:
        for value in allowed:
            if value.lower() == spelled.lower():
                return value
    if isinstance(default, (str, int, float)) and (not allowed or default in allowed):
        return str(default)
    return allowed[0] if len(allowed) == 1 else None


def named_in(config: Path) -> str:
    """DATASET.NAME of a data set's config file; the file's own name if it is not there or says none."""
    try:
        lines = config.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # train.py says it better
        lines = []
    inside = False
    for line in lines:
        if line[:1] not in (" ", "\t", "#", ""):
            inside = line.startswith("DATASET:")
        key, _, value = line.partition(":")
        if inside and key.strip() == "NAME":
            return value.split("#")[0].strip().strip("\"'")
    return config.stem


def main(argv: Optional[List[str]] = None) -> int:
    """Print "trainer NAME", and "flag WORD" or "option WORD" for each word, in order; exit code 0 or 2."""
    words = sys.argv[1:] if argv is None else argv
    if len(words) != 4:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder, trainer, protocol, config = words
    try:
        asks = asks_of(Path(folder), trainer, protocol, named_in(Path(folder) / config))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"trainer {asks.trainer}")
    for kind, given in (("flag", asks.flags), ("option", asks.options)):
        for word in given:
            print(kind, word)
    return 0


if __name__ == "__main__":
    sys.exit(main())
