"""A local S3 server for tests: moto's, on a free port of 127.0.0.1, in a thread of the test process."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator

from infra.adapters.objects_s3 import S3Store

REGION = "eu-central-1"


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Start the server; yields its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def new_bucket(endpoint: str) -> str:
    """Create a bucket of its own; returns its name."""
    import boto3

    name = f"headrace-{uuid.uuid4().hex[:12]}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test-secret", region_name=REGION
    )
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    client.close()
    return name


def s3_store(endpoint: str, bucket: str, prefix: str = "") -> S3Store:
    return S3Store(bucket, prefix, "test", "test-secret", None, endpoint, REGION)
