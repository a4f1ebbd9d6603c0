"""As much of it as is called: nothing."""
