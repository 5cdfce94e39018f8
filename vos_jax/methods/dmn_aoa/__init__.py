"""DMN-AOA (Liang et al., ICCV 2021)."""
