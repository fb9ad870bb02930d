"""The errors a user can meet. Each says where, what was found, what was expected, and the remedy."""


class Error(Exception):
    """Base of every error that vitref raises for bad input.

    `where` names the file, argument or field; `found` and `expected` say what was there and what
    should have been; `remedy` is a sentence that says what to do. Several problems of one kind are
    listed in one `found`, one per line.
    """

    def __init__(self, where: str, *, found: str, expected: str, remedy: str) -> None:
        super().__init__(where, found, expected, remedy)
        self.where, self.found, self.expected, self.remedy = where, found, expected, remedy

    def __str__(self) -> str:
        if "\n" in self.found:
            return f"{self.where}: found {self.found.rstrip()}\nexpected {self.expected}\n{self.remedy}"
        return f"{self.where}: found {self.found}; expected {self.expected}. {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.where, self.found, self.expected, self.remedy)


class CheckpointError(Error):
    """A weights file or its tensors: unreadable, incomplete, misshapen, or of an unknown format."""


class ConfigError(Error):
    """A fact about the model or the call: missing, contradictory, or not supported."""


class ImageError(Error):
    """An image or pixel array: unreadable, or of the wrong rank, size, dtype or channel count."""


class BackendError(Error):
    """A backend or dtype: unknown, or unavailable on this machine; too little memory.

    share   the part of the batch for which memory would do, where that is known
    """

    share: float | None = None


def _rebuild(kind: type[Error], where: str, found: str, expected: str, remedy: str) -> Error:
    return kind(where, found=found, expected=expected, remedy=remedy)
