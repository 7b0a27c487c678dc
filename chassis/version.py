"""The version of the code. setup.cfg says the same."""

VERSION = "0.1.0"
