"""As much of it as is called."""


class HttpError(Exception):
    """What the cloud refused."""
