"""The embedded sandbox: Novita's FLUX.1 Kontext API as an ASGI app, with a painter instead of a model."""
