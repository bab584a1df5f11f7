"""Peers that need more than a call: their own harness around the same system under test."""
