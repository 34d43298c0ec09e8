"""The version of this program. People and other peers see it; no rule depends on it."""

VERSION = "0.1.0"
