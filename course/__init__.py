"""The learner's and the instructor's tool."""
