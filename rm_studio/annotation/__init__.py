"""Everything that is said to an Argilla server, ours or the user's own.

The only package that imports argilla (inside functions: it takes more than a second).
"""

from rm_studio.annotation.connection import Connection, Login, connect, connect_to, login, uses_own_server
from rm_studio.annotation.dataset import PersonProgress, Progress, progress, publish, pull

__all__ = [
    "Connection",
    "Login",
    "PersonProgress",
    "Progress",
    "connect",
    "connect_to",
    "login",
    "progress",
    "publish",
    "pull",
    "uses_own_server",
]
