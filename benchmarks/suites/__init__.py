"""One module per suite, each with ``run(context) -> SuiteResult`` and a one-line docstring."""
