"""An object store in an S3 bucket, through s3fs. Nothing is cached, so every process sees what is there now."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.adapters.renewed_keys import TemporaryKey, renewed_session
from infra.core.errors import UnavailableError
from infra.core.object_keys import require_key, require_prefix

if TYPE_CHECKING:
    import s3fs

_SINGLE_PUT_BYTES = 64 * 2**20


@dataclass(slots=True)
class S3Store:
    """Objects under ``prefix`` of a bucket; safe for many processes on many machines.

    ``put_new`` is a conditional write (``If-None-Match: *``), which AWS, MinIO and Ceph decide on the server. On a
    server that ignores the header it is check-then-write: right but for a race between two writers.

    Attributes:
        renewal: Gives the newest temporary key, in place of ``key``, ``secret`` and ``token``.
    """

    bucket: str
    prefix: str = ""
    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    region: str | None = None
    renewal: Callable[[], TemporaryKey] | None = field(default=None, repr=False)
    _opened: s3fs.S3FileSystem | None = field(default=None, init=False, repr=False, compare=False)
    _opened_by: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        # The connection stays behind: it belongs to this process.
        values = (self.bucket, self.prefix, self.key, self.secret, self.token, self.endpoint, self.region, self.renewal)
        return S3Store, values

    def put(self, key: str, data: bytes) -> None:
        with self._translated(key):
            self._files().pipe_file(f"{self.bucket}/{self._full(key)}", bytes(data), chunksize=_SINGLE_PUT_BYTES)

    def put_new(self, key: str, data: bytes) -> bool:
        if self.exists(key):
            return False
        with self._translated(key):
            try:
                self._files().pipe_file(
                    f"{self.bucket}/{self._full(key)}", bytes(data), chunksize=_SINGLE_PUT_BYTES, mode="create"
                )
            except FileExistsError:
                return False
            except OSError as error:
                if "conflicting conditional operation" in str(error).lower():
                    return False
                raise
        return True

    def get(self, key: str) -> bytes:
        with self._translated(key, reads=True):
            return self._files().cat_file(f"{self.bucket}/{self._full(key)}")

    def exists(self, key: str) -> bool:
        try:
            self._head(key)
        except UnavailableError as error:
            if error.code != "NOT_FOUND":
                raise
            return False
        return True

    def list(self, prefix: str) -> list[str]:
        start = require_prefix(prefix)
        root = f"{self.prefix}/" if self.prefix else ""
        keys: list[str] = []
        more: dict[str, str] = {}
        with self._translated(prefix):
            # Listing is all that this asks for: s3fs's own walk also looks at a folder as if it were an object, and that
            # may be forbidden to who may list it.
            while True:
                page = self._files().call_s3("list_objects_v2", Bucket=self.bucket, Prefix=f"{root}{start}", **more)
                keys += (entry["Key"][len(root) :] for entry in page.get("Contents", ()))
                if not page.get("IsTruncated"):
                    break
                more = {"ContinuationToken": page["NextContinuationToken"]}
        return sorted(key for key in keys if key and not key.endswith("/"))

    def size(self, key: str) -> int:
        return int(self._head(key)["ContentLength"])

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._files().call_s3("delete_object", Bucket=self.bucket, Key=self._full(key))

    def fingerprint(self, key: str) -> str:
        head = self._head(key)
        return f"{head['ContentLength']}-{head['ETag'].strip(chr(34))}"

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{require_key(key)}" if self.prefix else require_key(key)

    def _head(self, key: str) -> dict[str, Any]:
        with self._translated(key, reads=True):
            return self._files().call_s3("head_object", Bucket=self.bucket, Key=self._full(key))

    def _files(self) -> s3fs.S3FileSystem:
        """This process's connection: one made before a fork would wait for a thread that the child does not have."""
        if self._opened is None or self._opened_by != os.getpid():
            import s3fs

            self._opened = s3fs.S3FileSystem(
                **self._signing(),
                endpoint_url=self.endpoint,
                client_kwargs={"region_name": self.region} if self.region else {},
                config_kwargs={"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3}},
                use_listings_cache=False,
                skip_instance_cache=True,
                default_fill_cache=False,
            )
            self._opened_by = os.getpid()
        return self._opened

    def _signing(self) -> dict[str, Any]:
        if self.renewal is not None:
            return {"session": renewed_session(self.renewal)}
        return {"key": self.key, "secret": self.secret, "token": self.token}

    def _is_absent(self, key: str) -> bool:
        """Whether an object that may not be read is simply not there.

        Some servers say 403 for both to whom may list a part of the bucket only.
        """
        from botocore.exceptions import BotoCoreError

        name = self._full(key)
        with contextlib.suppress(OSError, BotoCoreError):
            page = self._files().call_s3("list_objects_v2", Bucket=self.bucket, Prefix=name, MaxKeys=1)
            # The listing is sorted, and nothing that starts with the name comes before the name itself.
            return all(entry["Key"] != name for entry in page.get("Contents", ()))
        return False

    @contextlib.contextmanager
    def _translated(self, key: str, reads: bool = False) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError

        where = f"{self.uri}/{key}"
        try:
            yield
        except FileNotFoundError as error:
            if "bucket" in str(error).lower():
                raise UnavailableError("NO_BUCKET", str(error), self.uri, "create the bucket") from error
            raise UnavailableError("NOT_FOUND", "no such object", where, "check the key") from None
        except FileExistsError:
            raise
        except PermissionError as error:
            if reads and self._is_absent(key):
                raise UnavailableError("NOT_FOUND", "no such object", where, "check the key") from None
            raise UnavailableError("STORE_DENIED", str(error), where, "check the key and its rights") from error
        except (OSError, BotoCoreError) as error:
            raise UnavailableError(
                "STORE_FAILED", str(error), where, "look at the S3 server, then try again"
            ) from error
