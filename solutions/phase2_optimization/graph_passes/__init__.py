"""The passes of the graph optimizer: one kind of rewrite per file, each with its own proof."""
