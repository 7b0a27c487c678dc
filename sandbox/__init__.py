"""Other companies, as programs of their own: nothing here imports the platform, nor the platform this."""
