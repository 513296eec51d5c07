"""Everything that is said to an Argilla server, ours or the user's own.

The only package that imports argilla (inside functions: it takes more than a second).
"""

from rm_studio.annotation.connection import (
    Connection,
    Login,
    OwnServer,
    connect,
    connect_to,
    forget_own_server,
    login,
    named_by_environment,
    own_server,
    use_own_server,
    uses_own_server,
)
from rm_studio.annotation.dataset import (
    PersonProgress,
    Progress,
    name_is_taken,
    progress,
    publish,
    pull,
)
from rm_studio.annotation.texts import page_of

__all__ = [
    "Connection",
    "Login",
    "OwnServer",
    "PersonProgress",
    "Progress",
    "connect",
    "connect_to",
    "forget_own_server",
    "login",
    "name_is_taken",
    "named_by_environment",
    "own_server",
    "page_of",
    "progress",
    "publish",
    "pull",
    "use_own_server",
    "uses_own_server",
]
