"""Settings as frozen dataclasses: a field states its default, its meaning and its bounds once.

Config nodes, --help, the docs and all checks are made from that. A setting's name in config files is its field's in
capitals, unless the field gives another.
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from modprompt.checks import at_least, at_most, check_name, one_of
from modprompt.errors import SettingError

Steps = Sequence[Sequence[int]]  # (remove, add) per layer, as a schedule is written out; kept as tuples
C = TypeVar("C", bound="Configured")
_MOST = 10**300  # larger whole numbers do not fit into a float


class Must(NamedTuple):
    """What the values of a setting must be, if its type and bounds do not say it."""

    fits: Callable[[Any], bool]
    meaning: str


def setting(
    default: Any,
    meaning: str,
    *,
    least: float | None = None,
    most: int | None = None,
    choices: Sequence[str] = (),
    key: str = "",
    compared: bool = True,
    switch: bool = False,
    must: Must | None = None,
    kept: bool = False,
    layers_of: str = "",
    content: str = "",
) -> Any:
    """A field of a Configured class.

    Args:
        default: its default; its type is that of the setting (a tuple is a schedule, written out).
        meaning: what it is, in one line.
        least: the smallest value; None for no bound.
        most: the largest value of a whole number; None for no bound.
        choices: the valid values; empty for any.
        key: its name in config files, if that is not the field's in capitals.
        compared: whether prompts learned with another value are refused; False for what only changes learning.
        switch: whether True or False may be given for a text; they are kept as texts.
        must: what a value must be, in place of the default's type.
        kept: whether a test of trained prompts takes it from their checkpoint, since no tensor shows it. If it is not
            compared, a test takes it only on the data set of the training, and the command line overrides it.
        layers_of: for a number of layers, the side that must have so many: text, vision or both; else empty.
        content: the name of the fact (`modprompt.io.identity`) that is the content of the file, folder or CLIP model
            that the setting names; this content is compared instead of the path. Empty for a setting that names none.
    """
    facts = Setting(
        "", key, default, meaning, least, most, tuple(choices), compared, switch, must, kept, layers_of, content
    )
    return dataclasses.field(default=default, metadata=facts._asdict())


def changed(owner: type, field: str, default: Any, **facts: Any) -> Any:
    """A base class's field with another default, or other facts of `setting`."""
    (there,) = [one for one in dataclasses.fields(owner) if one.name == field]
    return dataclasses.field(default=default, metadata={**there.metadata, **facts})


class Setting(NamedTuple):
    """The facts of one setting of a class."""

    field: str
    key: str
    default: Any
    meaning: str
    least: float | None
    most: int | None
    choices: tuple[str, ...]
    compared: bool
    switch: bool
    must: Must | None
    kept: bool
    layers_of: str
    content: str

    @property
    def kind(self) -> str:
        """What a value must be, in words."""
        return "a list of [remove, add] pairs" if self.default == () else kind_of(self.default)

    def fitted(self, value: Any) -> Any:
        """The value in the setting's own type: a whole number as a float if the setting is one, lists as tuples.

        Raises:
            SettingError: if it is of another type or out of bounds.
        """
        if self.must is not None:
            if not self.must.fits(value):
                raise SettingError([(self.key, f" must be {self.must.meaning}, got {value!r}")])
            return tuple(value) if isinstance(value, list) else value
        value = self._typed(value)
        if self.choices:
            one_of(self.key, value, self.choices)
        if isinstance(self.default, float):
            if not math.isfinite(value) or (self.least is not None and value < self.least):
                wanted = "a finite number" if self.least is None else f"a number from {_plain(self.least)} up"
                raise SettingError([(self.key, f" must be {wanted}, got {_plain(value)}")])
        elif self.least is not None:
            at_least(self.key, value, self.least)
        if self.most is not None:
            at_most(self.key, value, self.most)
        return value

    def _typed(self, value: Any) -> Any:
        wanted = type(self.default)
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value) if abs(value) < _MOST else math.inf
        if wanted is tuple and isinstance(value, (list, tuple)):
            return tuple(tuple(step) if isinstance(step, (list, tuple)) else step for step in value)
        if self.switch and isinstance(value, bool):
            return str(value)
        if type(value) is not wanted:
            raise SettingError([(self.key, f" must be {self.kind}, got {value!r}")])
        return value


def kind_of(default: Any) -> str:
    """What a setting with this default must be, in words."""
    kinds = {bool: "True or False", int: "a whole number", float: "a number", str: "a string"}
    return kinds.get(type(default), "a list")


def _number(value: Any) -> int | float | None:
    """Return a value that is a number, or the number that its text says; None if it is neither."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def is_numeric(value: Any) -> bool:
    """Return True for a number and for the text of a number."""
    return _number(value) is not None


def fitting(default: Any, value: Any) -> Any:
    """Return a number, or its text, in the type of the default; all other values, and 0.5 for 1, are unchanged."""
    number = _number(value)
    if number is None or not is_numeric(default) or isinstance(default, str):
        return value
    try:
        whole = isinstance(default, int) and isinstance(number, float) and number.is_integer()
        return float(number) if isinstance(default, float) else int(number) if whole else number
    except OverflowError:
        return value


def _plain(value: float) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_config(value: Any) -> Any:
    """A setting's value as written in configs: tuples as lists, whole numbers without a point."""
    if isinstance(value, (tuple, list)):
        return [as_config(item) for item in value]
    return _plain(value)


@dataclasses.dataclass(frozen=True, repr=False)
class Configured:
    """Base of classes with settings: a frozen dataclass of `setting` fields, checked when made; its repr is code.

    Raises:
        SettingError: if settings have another type or are out of bounds; all of them are named.
    """

    node: ClassVar[str] = ""  # its place in a config, "TRAINER.MPL"
    # set on an instance: the fields that the caller of the class did not pass; none are after `of`
    unset: ClassVar[frozenset[str]] = frozenset()

    def __new__(cls: type[C], *args: Any, **kwargs: Any) -> C:
        made: C = super().__new__(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        made.__dict__["unset"] = frozenset(names) - {*names[: len(args)], *kwargs}
        return made

    def __post_init__(self) -> None:
        faults: list[tuple[str, str]] = []
        for one in self.settings():
            try:
                object.__setattr__(self, one.field, one.fitted(getattr(self, one.field)))
            except SettingError as error:
                faults += error.faults
        if faults:
            raise SettingError(faults)
        self.check()

    def check(self) -> None:
        """Refuse settings that do not fit together; each by itself is checked already.

        Raises:
            SettingError: if there are any.
        """

    def unused(self) -> dict[str, str]:
        """Return the settings that have no effect because of another setting, {field: field of the other}."""
        return {}

    @classmethod
    def node_name(cls) -> str:
        """Its node without what that is in; empty if it has no settings."""
        return cls.node.rpartition(".")[2]

    def replace_private(self: C, **read: Any) -> C:
        """A copy with what was read or decided for it, as attributes that are not settings."""
        other = copy.copy(self)
        other.__dict__.update(read)  # it is frozen
        return other

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        """All settings, the class's own first."""
        own = [(field.name, field.default, field.metadata) for field in dataclasses.fields(cls) if field.metadata]
        depth = {field: next(i for i, base in enumerate(cls.__mro__) if field in vars(base)) for field, _, _ in own}
        own.sort(key=lambda one: depth[one[0]])
        return tuple(
            Setting(name, facts["key"] or name.upper(), default, *list(facts.values())[3:])
            for name, default, facts in own
        )

    @classmethod
    def of(cls: type[C], values: Mapping[str, Any]) -> C:
        """An instance with the given values, by field or config key; the rest are defaults, as if these were passed.

        Raises:
            SettingError: on a value that does not fit, an unknown name (a similar one is proposed), or one given twice.
        """
        known = {name: one.field for one in cls.settings() for name in (one.field, one.key)}
        for name in values:
            name = str(name)
            check_name(name, [one for one in known if one.isupper() == name.isupper()], cls.__name__)
        fields = {known[name]: value for name, value in values.items()}
        if len(fields) < len(values):
            twice = [one.key for one in cls.settings() if {one.field, one.key} <= set(values)]
            raise SettingError([(key, " is given twice, by its field name and its config key.") for key in twice])
        return cls(**fields).replace_private(unset=frozenset())

    @classmethod
    def in_node(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """The settings in a config node, by key; a codebase's own node may lack some."""
        return {one.key: node[one.key] for one in cls.settings() if one.key in node}

    @classmethod
    def help_text(cls) -> str:
        """A line for each setting: its full name in configs, its default, what it means."""
        lines = [(f"{cls.node}.{one.key}", repr(as_config(one.default)), one.meaning) for one in cls.settings()]
        widths = [max((len(line[column]) for line in lines), default=0) for column in (0, 1)]
        return "\n".join(f"  {key:<{widths[0]}}  {default:<{widths[1]}}  {meaning}" for key, default, meaning in lines)

    def as_config(self) -> dict[str, Any]:
        """All settings by config key, as written in configs."""
        return {one.key: as_config(getattr(self, one.field)) for one in self.settings()}

    def changed(self) -> dict[str, Any]:
        """The settings that differ from the defaults, by field."""
        pairs = [(one, getattr(self, one.field)) for one in self.settings()]
        return {one.field: as_config(value) for one, value in pairs if value != one.default}

    def __repr__(self) -> str:
        shown = self.changed()
        if self.unset:  # then a value that was passed counts, although it equals the default
            fields = [one.field for one in self.settings() if one.field not in self.unset]
            shown = {field: as_config(getattr(self, field)) for field in fields}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
