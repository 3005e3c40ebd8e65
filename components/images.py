"""The images that steps run in, one constant for each folder of images/."""

REGISTRY, TAG = "ghcr.io/toolchain", "0.1.0"

BASE = f"{REGISTRY}/base:{TAG}"  # tables: pandas, pyarrow, pandera
TEXT = f"{REGISTRY}/text:{TAG}"  # words: NLTK, spaCy
PICTURES = f"{REGISTRY}/pictures:{TAG}"  # pictures: Pillow, OpenCV, Albumentations, annotation formats
TRAIN = f"{REGISTRY}/train:{TAG}"  # PyTorch and Transformers; CUDA where the node has it
OPTIMIZE = f"{REGISTRY}/optimize:{TAG}"  # ONNX Runtime, OpenVINO and NNCF on CPU nodes
RELEASE = f"{REGISTRY}/release:{TAG}"  # MLflow, pictures and pages
