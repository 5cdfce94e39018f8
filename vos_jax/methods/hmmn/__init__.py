"""HMMN (Seong et al., ICCV 2021)."""
