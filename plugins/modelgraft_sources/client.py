"""The HTTP library that the hub client speaks through, whichever it is: httpx in huggingface_hub 1, httpx2 from 2.0 on.

The two have the same names. Which one is asked of the client itself, so that neither has to be installed beside the other.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

from huggingface_hub.errors import HfHubHTTPError


def _library() -> ModuleType:
    """Find the module whose ``HTTPError`` the client's own errors are kinds of."""
    (error,) = (kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    return sys.modules[error.__module__.partition(".")[0]]


http: Final = _library()
