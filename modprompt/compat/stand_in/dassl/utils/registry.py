"""Names for classes: what a config file names is looked up here."""


class Registry:
    """A table of named objects.

    Args:
        name: what the table holds, for its messages.
    """

    def __init__(self, name):
        self._name = name
        self._objects = {}

    def register(self, obj=None, force=False):
        """Register an object under its `__name__`; without `obj`, a decorator that does.

        Raises:
            KeyError: if the name is taken and `force` is off.
        """
        if obj is None:
            return lambda target: self.register(target, force=force)
        if obj.__name__ in self._objects and not force:
            raise KeyError(f"{self._name} already contains an entry with the name {obj.__name__!r}.")
        self._objects[obj.__name__] = obj
        return obj

    def get(self, name):
        """The object of that name.

        Raises:
            KeyError: if there is none.
        """
        if name not in self._objects:
            raise KeyError(f"{self._name} contains no entry with the name {name!r}.")
        return self._objects[name]

    def registered_names(self):
        """All names, in the order of registration."""
        return list(self._objects)
