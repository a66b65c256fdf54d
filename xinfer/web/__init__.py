"""The pages: sources in ``ui``, built to ``dist``, served by ``static``."""
