"""Phase 4: the real-time video machine."""
