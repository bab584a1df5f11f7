"""A small convolutional network, compiled ahead of time to C."""

from solutions.phase2_optimization.c_backend.module import CModule, build, generate

__all__ = ["CModule", "build", "generate"]
