"""Ids that say nothing, and tokens: HMACs of the secret in `ratings/private.json`."""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import tempfile
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.files import fsync_folder
from evalkit.run_folder import Run


class Secret:
    """The random secret of a run. It is never served, exported or logged."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def opaque(self, *parts: str) -> str:
        """A text of 22 letters, digits, - and _ that reveals nothing about its parts."""
        message = json.dumps(parts).encode()
        digest = hmac.digest(self._key, message, "sha256")
        return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")

    def token(self, study: str, role: str, name: str = "") -> str:
        """The token of a rater (`name.mac`), of the admin page or of the join link (`mac`)."""
        mac = self.opaque("token", study, role, name)
        return f"{name}.{mac}" if name else mac

    def is_token(self, given: str, study: str, role: str, name: str = "") -> bool:
        """Whether it is this token; the time that the answer takes says nothing about it."""
        expected = self.token(study, role, name).encode()
        return hmac.compare_digest(given.encode("utf-8", "replace"), expected)


def read_secret(run: Run) -> Secret:
    """The secret of a run; it is made when there is none.

    The caller holds the lock of the run. Raises EvalkitError for a damaged file: with another
    secret, all links would be invalid.
    """
    path = run.private_path
    if not path.exists():
        _make(path)
    try:
        key = bytes.fromhex(json.loads(path.read_text(encoding="utf-8"))["secret"])
        if len(key) < 16:
            raise ValueError(len(key))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvalkitError(
            f"{path} cannot be read or is damaged; expected the secret behind the links of raters.",
            "Restore the file, or delete it: all raters then need new links.",
            code="rate-48",
        ) from error
    return Secret(key)


def _make(path: Path) -> None:
    """Write a new secret that only the owner of the run can read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"secret": secrets.token_hex(32)}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
        fsync_folder(path.parent)
    except OSError as error:
        raise EvalkitError(
            f"Could not write {path}: {error.strerror}.",
            "Ratings are kept in the run folder: it must be writable.",
            code="rate-49",
        ) from error
