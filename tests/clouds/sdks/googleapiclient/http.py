"""As much of it as is called."""


class HttpRequest:
    """Never made here."""
