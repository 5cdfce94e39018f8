"""How tables, figures and pictures of results are made."""
