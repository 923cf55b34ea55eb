"""Bundle files: read, and every number of their plans checked, before anything in them is believed. See docs/security.md."""

from hfc.bundles.read import load_bundle, read_bundle

__all__ = ["load_bundle", "read_bundle"]
