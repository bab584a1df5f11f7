"""Where answers run that are not trusted."""
