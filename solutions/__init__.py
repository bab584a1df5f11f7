"""The reference: what the four phases build, made to be used."""
