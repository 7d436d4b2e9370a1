"""Code that runs exported networks, for their model card."""

RUNS = {
    "model.onnx": """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(embeddings,) = session.run(["embeddings"], {"images": images})
```
""",
    "model.xml": """\
```python
import openvino

core = openvino.Core()
hint = {"INFERENCE_PRECISION_HINT": "f32"}  # processors with bfloat16 are less precise without it
network = core.compile_model("model.xml", "CPU", hint)
embeddings = network({"images": images})["embeddings"]
```
""",
    "model.pt2": """\
```python
import torch

network = torch.export.load("model.pt2").module()
embeddings = network(torch.from_numpy(images)).detach().numpy()
```
""",
}
"""Code that runs each file."""
