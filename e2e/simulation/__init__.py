"""The whole system in one process and in virtual time: real programs, modelled API server, fake kernels."""
