"""Phase 1: loading models, preparing their inputs, reading their outputs."""
