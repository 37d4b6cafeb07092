"""What the library raises. Every message says what was expected, what came, and what to do."""


class EmbrmError(Exception):
    """Base of everything that embrm raises on purpose; the command line turns it into one line and an exit code."""


class DataError(EmbrmError, ValueError):
    """The input (a file, a table, an array) is not what the operation needs."""


class OptionError(EmbrmError, ValueError):
    """An option of a recipe or a function has a value that it cannot take."""


class UnknownNameError(EmbrmError, KeyError):
    """A name that no registered head, selector, detector or embedder has."""

    def __str__(self) -> str:
        return str(self.args[0])


class PluginError(EmbrmError, ImportError):
    """Another package's head, selector, detector or embedder cannot be used; the message names the package."""


class MissingExtraError(EmbrmError, ImportError):
    """A part needs an optional package; the message gives the command that installs it."""


class ConvergenceError(EmbrmError, RuntimeError):
    """Training or sampling did not converge, or its loss stopped being finite."""


class CacheError(EmbrmError, OSError):
    """The embedding cache cannot be read or written."""


class WorkerError(EmbrmError, RuntimeError):
    """A process that computed a part of the work died."""
