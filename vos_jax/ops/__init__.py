"""Array functions: no parameters, no Flax, no files. Everything traceable.

Letters in shapes, here and in every layer above: `B` videos, `T` frames, `O` objects,
`H W` image, `h w` feature grid (stride 16), `N` memory slots, `Ck Cv` key and value
channels. Channels last. Functions describe one video; `jax.vmap` adds `B`.
"""
