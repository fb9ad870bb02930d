"""What has gone wrong in public ports of Vision Transformers, from the picture to the gradients.

Every topic has a mistake that is planted, or a reason why none is. What is known from the definition of
the model alone, without a report, has no topic.
"""

TOPICS = {
    "mean and std": "",
    "filter of the picture": "",
    "antialias of the picture": "",
    "crop and shape of the picture": "",
    "colour channels": "",
    "settings shipped with the weights": "the file is wrong there, not the program",
    "order of a patch's pixels": "",
    "rows and columns": "",
    "layout of the patch kernel": "",
    "place of the class token": "",
    "number of tokens before the patches": "",
    "position of the class token": "",
    "registers": "no model of vitref has them",
    "positions not resized": "",
    "resizing by a factor": "",
    "antialias of positions": "",
    "cubic coefficient": "",
    "kind and corners of resizing": "",
    "rotary and sinusoidal positions": "no model of vitref has them",
    "eps of LayerNorm": "",
    "formula of LayerNorm": "",
    "residual": "",
    "last LayerNorm": "",
    "LayerNorms mixed up": "",
    "attention scale": "",
    "softmax axis": "",
    "split into heads": "",
    "fused projection": "",
    "bias of queries, keys and values": "",
    "batch axis": "",
    "two implementations of attention": "the reference has one",
    "form of GELU": "",
    "QuickGELU": "",
    "LayerScale": "",
    "pooling": "",
    "head": "",
    "names of tensors": "",
    "convolutional stem": "no model of vitref has one",
    "precision": "",
    "gradients": "",
}
"""Topic -> why none of its mistakes is planted; "" where some are."""
