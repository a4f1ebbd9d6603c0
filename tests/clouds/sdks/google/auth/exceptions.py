"""As much of it as is called."""


class DefaultCredentialsError(Exception):
    """There are none."""
