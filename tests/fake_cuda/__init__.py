"""The GPU path on a machine without a GPU: tensors of device `cuda` that have types and shapes but no values.

`child.run` starts a process in which PyTorch takes such tensors; in it `device.fake_cuda` makes them, and
`watching.counted` tells what a call would launch and where it would wait. Nothing is computed.
"""
