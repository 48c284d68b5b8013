"""How a trained composer plays: its step on onnxruntime, sampling under the grammar, bar after bar (systems S19, S30)."""
