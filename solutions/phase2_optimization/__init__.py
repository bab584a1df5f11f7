"""Phase 2: making models smaller and faster, and proving what it cost."""
