"""Engines: the only room that imports torch, transformers, onnxruntime. One file per engine."""
