"""Every error a person can meet, in one tree.

StudioError
├── WorkspaceError     a project or a file of the workspace cannot be used
├── DataError          a table, file or dataset cannot be read or mapped
│   └── HubError       the Hugging Face Hub cannot be reached, or has no such thing
├── AnnotationError    Argilla answered, but what was asked cannot be done
│   ├── NameTakenError     another dataset has the name
│   ├── ServerError    Argilla cannot be started or reached
│   └── CredentialsError   Argilla does not accept who we say we are
├── ModelError         a model cannot be loaded, or is not one that scores text
└── TrainingError      a training run cannot start, or could not go on

The message is shown to a person as it is: what happened, what it means, what to do next. It holds no
path of the machine and no secret; the cause (``raise ... from``) goes to the log.
"""


class StudioError(Exception):
    """Something a person can act on; ``str(error)`` is the sentence to show."""


class WorkspaceError(StudioError):
    """A project or a file of the workspace cannot be used."""


class DataError(StudioError):
    """A table, file or dataset cannot be read or mapped."""


class HubError(DataError):
    """The Hugging Face Hub cannot be reached, or has no such dataset or model."""


class AnnotationError(StudioError):
    """Argilla answered, but what was asked cannot be done."""


class DatasetGoneError(AnnotationError):
    """What was published is no longer in Argilla."""


class NameTakenError(AnnotationError):
    """Another dataset in Argilla has the name; ``free`` is one that none has."""

    def __init__(self, message: str, free: str) -> None:
        super().__init__(f"{message} Go on with it, or publish as “{free}”.")
        self.free = free


class ServerError(AnnotationError):
    """Argilla cannot be started or reached."""


class CredentialsError(AnnotationError):
    """Argilla does not accept the user name, password or key."""


class GenerationError(StudioError):
    """A model does not write answers."""


class ModelError(StudioError):
    """A model cannot be loaded, or is not one that scores text."""


class TrainingError(StudioError):
    """A training run cannot start, or could not go on."""
