"""As much of it as is called."""


class DefaultAzureCredential:
    """Whatever is found."""


class ClientSecretCredential:
    """An application's."""

    def __init__(self, tenant, client, secret):
        self.tenant = tenant
