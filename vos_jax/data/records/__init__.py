"""Training data as records that `tfds build` prepares once and pods read.

`vos_records` is the builder. It alone imports tensorflow-datasets when it is imported,
for its class needs one of theirs; nothing here imports it.
"""
