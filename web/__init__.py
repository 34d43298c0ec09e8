"""One peer's book in the browser and over HTTP."""
