"""As much of it as is called."""


class HttpLib2Error(Exception):
    """No connection."""


class Http:
    """Only asked whether this is one of Google's machines."""

    def request(self, *_, **__):
        raise OSError("no metadata server")
