"""STCN (Cheng et al., NeurIPS 2021)."""
